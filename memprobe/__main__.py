"""``python -m memprobe``."""

from memprobe._command import main

if __name__ == "__main__":
    main()
