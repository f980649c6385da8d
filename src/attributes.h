/* Hints to the compiler for the path of a reading.
 *
 * The kernel's own calls overwrite the CPU's return predictor, so that after a system
 * call each return to a function entered before it is mispredicted: 8 to 10 ns, 0.01 of
 * a reading, per function. So the path is one function, flat, with all else out of its
 * way. */
#ifndef MP_ATTRIBUTES_H
#define MP_ATTRIBUTES_H

#if defined(__GNUC__)
#    define MP_FLAT __attribute__((flatten)) /* inlines what it calls */
#    define MP_COLD __attribute__((noinline, cold))
#else
#    define MP_FLAT
#    define MP_COLD
#endif

#endif
