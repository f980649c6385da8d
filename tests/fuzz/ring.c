/* Any bytes as a program of operations on a ring, against a model that keeps every
 * sample that ever came in a plain array. */
#include "ring.h"
#include "check.h"
#include "fuzz.h"

#include <stdbool.h>
#include <string.h>

#define MOST_SAMPLES 4096
#define MOST_CAPACITY 40

struct model {
    struct mp_sample samples[MOST_SAMPLES];
    uint64_t taken;
    uint64_t capacity;
    uint64_t oldest;
    uint64_t start;
    uint64_t summed_from; /* the totals are of this sample and all later ones */
};

static struct model model;
static struct mp_ring ring;

/* Slots in memory of exactly their size, so that ASan sees a slot too many. */
static struct mp_sample *
new_slots(uint64_t capacity)
{
    struct mp_sample *slots = calloc((size_t)capacity, sizeof *slots);
    CHECK(slots != NULL);
    return slots;
}

static void
push(int64_t ns, uint64_t bytes)
{
    if (model.taken == MOST_SAMPLES || model.capacity == 0) {
        return;
    }
    mp_ring_push(&ring, ns, bytes);
    bool first = model.summed_from == model.taken;
    if (!first && ns < model.samples[model.taken - 1].ns) {
        ns = model.samples[model.taken - 1].ns;
    }
    model.samples[model.taken++] = (struct mp_sample){ns, bytes};
    if (model.taken - model.oldest > model.capacity) {
        model.oldest++;
    }
}

static void
forget(uint64_t number)
{
    mp_ring_forget(&ring, number);
    if (number <= model.start) {
        return;
    }
    model.start = number < model.taken ? number : model.taken;
    model.oldest = model.oldest > model.start ? model.oldest : model.start;
    model.summed_from = model.oldest;
}

static void
move_to(uint64_t capacity)
{
    struct mp_sample *slots = new_slots(capacity);
    struct mp_sample *old = ring.slots;
    mp_ring_move(&ring, slots, capacity);
    free(old);
    model.capacity = capacity;
    if (model.taken - model.oldest > capacity) {
        model.oldest = model.taken - capacity;
    }
}

static void
check_copy(uint64_t skip, uint64_t count)
{
    uint64_t stored = model.taken - model.oldest;
    skip = skip > stored ? stored : skip;
    count = count > stored - skip ? stored - skip : count;
    struct mp_sample *copy = new_slots(count);
    mp_ring_copy(&ring, model.oldest + skip, count, copy);
    CHECK(count == 0 || memcmp(copy, model.samples + model.oldest + skip,
                               (size_t)count * sizeof *copy) == 0);
    free(copy);
}

static void
check_totals(void)
{
    struct mp_totals all = {0};
    unsigned __int128 sum = 0;
    for (uint64_t i = model.summed_from; i < model.taken; i++) {
        struct mp_sample sample = model.samples[i];
        all.first = all.count == 0 ? sample : all.first;
        all.min = all.count == 0 || sample.bytes < all.min ? sample.bytes : all.min;
        all.max = sample.bytes > all.max ? sample.bytes : all.max;
        all.last = sample;
        all.count++;
        sum += sample.bytes;
    }
    CHECK(ring.totals.count == all.count);
    if (all.count == 0) {
        return;
    }
    CHECK(ring.totals.min == all.min && ring.totals.max == all.max);
    CHECK(memcmp(&ring.totals.first, &all.first, sizeof all.first) == 0);
    CHECK(memcmp(&ring.totals.last, &all.last, sizeof all.last) == 0);
    CHECK(ring.totals.sum_low == (uint64_t)sum);
    CHECK(ring.totals.sum_high == (uint64_t)(sum >> 64));
}

static void
check_everything(void)
{
    CHECK(ring.taken == model.taken);
    CHECK(mp_ring_stored(&ring) == model.taken - model.oldest);
    CHECK(mp_ring_overwritten(&ring) == model.oldest - model.start);
    for (uint64_t i = model.oldest; i < model.taken; i++) {
        struct mp_sample sample = mp_ring_at(&ring, i);
        CHECK(memcmp(&sample, &model.samples[i], sizeof sample) == 0);
    }
    check_totals();
}

/* Each operation is three bytes: which, and two arguments. */
static void
step(uint8_t operation, uint8_t a, uint8_t b)
{
    switch (operation % 8) {
    case 0:
        push(a * INT64_C(1000) + b, b);
        break;
    case 1: /* many, and sizes whose sum needs more than 64 bits */
        for (int i = 0; i < a; i++) {
            push(i, UINT64_MAX - b);
        }
        break;
    case 2:
        push(-(int64_t)a, (uint64_t)a << 56 | b);
        break;
    case 3:
        forget(model.start + a % 64);
        break;
    case 4:
        forget(b == 0 ? UINT64_MAX : model.taken - model.taken % (a + 1U));
        break;
    case 5:
        move_to(1 + a % MOST_CAPACITY);
        break;
    case 6:
        check_copy(a % MOST_CAPACITY, b % MOST_CAPACITY);
        break;
    default:
        check_copy(0, UINT64_MAX);
        break;
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memset(&ring, 0, sizeof ring);
    memset(&model, 0, sizeof model);
    for (; size >= 3; size -= 3, data += 3) {
        step(data[0], data[1], data[2]);
        check_everything();
    }
    free(ring.slots);
    return 0;
}
