#include "humanize.h"

/* Integer arithmetic because a float formatted by PyOS_double_to_string costs 300 ns,
 * a quarter of a reading, and this a tenth of that. */

#define SIGNIFICANT_DIGITS 5

/* Writes `number` in decimal. Returns the number of digits. */
static size_t
put_number(uint64_t number, char *text)
{
    char reversed[20];
    size_t length = 0;
    do {
        reversed[length++] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    for (size_t i = 0; i < length; i++) {
        text[i] = reversed[length - 1 - i];
    }
    return length;
}

/* number / 2**shift, rounded half to even. */
static uint64_t
shift_rounded(uint64_t number, unsigned shift)
{
    uint64_t whole = number >> shift;
    uint64_t rest = number & ((UINT64_C(1) << shift) - 1);
    uint64_t half = UINT64_C(1) << (shift - 1);
    return whole + (rest > half || (rest == half && (whole & 1) != 0));
}

/* Writes bytes / 2**shift, which is not a whole number. Returns the length. */
static size_t
put_fraction(uint64_t bytes, unsigned shift, char *text)
{
    uint64_t whole = bytes >> shift;
    uint64_t scale = 1;
    size_t decimals = SIGNIFICANT_DIGITS;
    for (uint64_t above = 1; decimals > 0 && whole >= above; above *= 10) {
        decimals--;
    }
    for (size_t i = 0; i < decimals; i++) {
        scale *= 10;
    }
    /* At most five digits left of the shift, 2**57: or, from 10000TB on, scale is 1. */
    uint64_t scaled = shift_rounded(bytes * scale, shift);
    size_t length = put_number(scaled / scale, text);
    if (decimals == 0 || length == SIGNIFICANT_DIGITS) {
        return length; /* the latter if 9999.96 was rounded to 10000 */
    }
    text[length++] = '.';
    uint64_t rest = scaled % scale;
    do {
        scale /= 10;
        text[length++] = (char)('0' + rest / scale);
        rest %= scale;
    } while (rest != 0);
    return length;
}

size_t
mp_humanize(uint64_t bytes, char text[MP_HUMANIZE_SIZE])
{
    static const char units[] = "bKMGT";
    unsigned unit = 0;
    while (unit < sizeof units - 2 && bytes >> (10 * (unit + 1)) != 0) {
        unit++;
    }
    unsigned shift = 10 * unit;
    size_t length;
    if ((bytes & ((UINT64_C(1) << shift) - 1)) == 0) {
        length = put_number(bytes >> shift, text);
    } else {
        length = put_fraction(bytes, shift, text);
    }
    text[length++] = units[unit];
    if (unit > 0) {
        text[length++] = 'B';
    }
    return length;
}
