/* Any bytes, by the first one, as a program of samples, failures and kills, whose file
 * is held against all samples that ever came; or as damage to a file, which whoever
 * goes on in it must survive and leave sound. */
#include "fuzz.h"
#include "record_disk.h"

#define MOST_SAMPLES 12000

static struct came came[MOST_SAMPLES];
static uint64_t count; /* of samples that came */
static uint64_t least; /* of these surely are in the file */
static struct disk disk;
static struct mp_record_file file;

static void
come(int64_t later, uint64_t pages, uint64_t shared)
{
    if (count == MOST_SAMPLES) {
        return;
    }
    int64_t before = count > 0 ? came[count - 1].ns : 0;
    int64_t ns = before > INT64_MAX - later ? INT64_MAX : before + later;
    came[count] = (struct came){ns, pages, shared};
    int error = push(&file, &disk, &came[count]);
    count++;
    CHECK((error == 0) == (disk.fault == NO_FAULT));
    least = error == 0 ? count : least;
}

/* Each operation is four bytes: which, and three arguments. */
static void
step(const uint8_t *operation)
{
    uint8_t a = operation[1];
    uint8_t b = operation[2];
    uint8_t c = operation[3];
    switch (operation[0] % 8) {
    case 0:
        come((int64_t)((uint64_t)a << b % 56), (uint64_t)c << b % 64, a);
        break;
    case 1:
    case 2: /* many */
        for (int i = 0; i < a * 8; i++) {
            come((int64_t)b << c % 40, 1000 + (uint64_t)(i * b % (c + 1)), b);
        }
        break;
    case 3:
        disk.fault = a % 4;
        disk.cut = (b * 256U + c) % MP_RECORD_BLOCK_BYTES;
        break;
    case 4: { /* a kill */
        disk.fault = NO_FAULT;
        CHECK(continue_file(&file, &disk) == 0);
        bool is_empty = file.newest.count == 0 && file.newest.first == 0;
        uint64_t there = is_empty ? 0 : file.newest.last + 1;
        CHECK(least <= there && there <= count);
        count = there;
        break;
    }
    case 5: {
        struct mp_record_io io = disk_io(&disk);
        struct mp_record_changing change = new_head().changing[0];
        change.parent = a;
        int error = mp_record_file_change(&file, &io, &change);
        CHECK(error == 0 || disk.fault != NO_FAULT);
        break;
    }
    case 6: {
        struct mp_record_io io = disk_io(&disk);
        struct mp_record_summary now = new_summary(a);
        int error = mp_record_file_write(&file, &io, &now);
        least = error == 0 ? count : least;
        break;
    }
    case 7:
        CHECK(check_disk(&disk, came, least, count) <= count);
        break;
    }
}

static void
run_program(const uint8_t *data, size_t size)
{
    for (; size >= 4; data += 4, size -= 4) {
        step(data);
    }
    check_disk(&disk, came, least, count);
}

static void
seal(uint32_t slot)
{
    struct mp_record_block block;
    memcpy(&block, disk.slots[slot], sizeof block);
    uint32_t kept = block.count <= MP_RECORD_SAMPLES ? block.count : 0;
    block.samples_checksum =
        mp_record_file_checksum(0, block.samples, kept * sizeof *block.samples);
    const char *from = (const char *)&block.samples_checksum;
    block.checksum =
        mp_record_file_checksum(0, from, (size_t)((const char *)block.samples - from));
    memcpy(disk.slots[slot], &block, sizeof block);
}

static void
damage_and_continue(const uint8_t *data, size_t size)
{
    static struct disk sound;
    if (sound.count == 0) {
        for (int i = 0; i < 24 * MP_RECORD_SAMPLES + 20; i++) {
            come(1000000000, 1000 + (uint64_t)(i % 77), 5);
        }
        sound = disk;
    }
    memcpy(disk.slots, sound.slots, sound.count * sizeof *sound.slots);
    disk.count = sound.count;
    /* Each eight bytes at a multiple of 4 in a block, which is sealed if the slot's
     * highest bit is set. */
    for (; size >= 11; data += 11, size -= 11) {
        uint32_t slot = (data[0] & 0x7f) % disk.count;
        size_t at = (data[1] * 256U + data[2]) % (MP_RECORD_BLOCK_BYTES / 4 - 1) * 4;
        memcpy(disk.slots[slot] + at, data + 3, 8);
        if (slot > 0 && (data[0] & 0x80) != 0) {
            seal(slot);
        }
    }
    if (continue_file(&file, &disk) != 0) {
        return;
    }
    int64_t ns = file.newest.last_ns;
    for (int i = 0; i < 3 * MP_RECORD_SAMPLES; i++) {
        struct came sample = {ns, 1000, 5};
        CHECK(push(&file, &disk, &sample) == 0);
        CHECK(file.newest.count <= MP_RECORD_SAMPLES && file.full < 240);
    }
    const struct mp_record_block *row[MP_RECORD_SLOTS];
    uint32_t blocks = disk_row(&disk, row);
    CHECK(blocks > 0 && row[blocks - 1]->last >= 3 * MP_RECORD_SAMPLES - 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    memset(disk.slots, 0, disk.count * sizeof *disk.slots);
    disk.count = 0;
    disk.fault = NO_FAULT;
    count = 0;
    least = 0;
    begin(&file, &disk);
    if (data[0] % 2 == 0) {
        run_program(data + 1, size - 1);
    } else {
        damage_and_continue(data + 1, size - 1);
    }
    return 0;
}
