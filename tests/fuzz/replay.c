/* Runs a fuzz target over the files that are its arguments, with any compiler. */
#include "check.h"
#include "fuzz.h"

int
main(int count, char **paths)
{
    for (int i = 1; i < count; i++) {
        FILE *file = fopen(paths[i], "rb");
        CHECK(file != NULL);
        CHECK(fseek(file, 0, SEEK_END) == 0);
        long size = ftell(file);
        CHECK(size >= 0);
        rewind(file);
        /* Of exactly that size, so that a sanitizer sees a byte too many. */
        uint8_t *data = malloc((size_t)size + (size == 0));
        CHECK(data != NULL);
        CHECK(fread(data, 1, (size_t)size, file) == (size_t)size);
        CHECK(LLVMFuzzerTestOneInput(data, (size_t)size) == 0);
        free(data);
        CHECK(fclose(file) == 0);
    }
    return 0;
}
