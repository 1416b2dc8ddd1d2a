/* Whether the frame table still counts what the tables map (see gateway_memory_fuzz.c). */

#include "gateway_memory_world.h"

static int is_table(const struct world *world, uint32_t frame)
{
    return world->type[frame] == TYPE_L1 && world->type_count[frame] && world->owner[frame] == DOMID;
}

/* Goes through the entries of all tables, to the end of memory. */
static uint32_t next_entry(const struct world *world, uint32_t at)
{
    at += entry_size;
    while (at < RAM_SIZE && !is_table(world, at / PAGE))
        at = (at / PAGE + 1) * PAGE;
    return at;
}

/* References and uses of each frame beyond those that tables, the processor and pins account for. */
static void surplus(const struct gateway_block *block, const struct world *world, uint32_t *references, uint32_t *uses)
{
    uint32_t at, frame;
    uint64_t made;

    memcpy(references, world->count, FRAMES * sizeof(*references));
    memcpy(uses, world->type_count, FRAMES * sizeof(*uses));
    references[world->cells[INSTALLED + BASE_MFN]]--;
    uses[world->cells[INSTALLED + BASE_MFN]]--;
    for (frame = 0; frame < FRAMES; frame++) {
        references[frame] -= (world->flags[frame] & FRAME_PINNED) != 0;
        uses[frame] -= (world->flags[frame] & FRAME_PINNED) != 0;
    }
    for (at = next_entry(world, 0); at < RAM_SIZE; at = next_entry(world, at)) {
        made = get(world->ram + at);
        frame = (uint32_t)((made & block->memory.address_mask) >> 12);
        if (made & 1 && frame < FRAMES) {
            references[frame]--;
            uses[frame] -= made >> 1 & 1;
        }
    }
}

static int maps_nothing(uint32_t frame)
{
    uint32_t at;

    for (at = frame * PAGE; at < (frame + 1) * PAGE; at += entry_size)
        if (get(now.ram + at) & 1)
            return 0;
    return 1;
}

/* A type may change if nobody uses the frame and nobody watches: to data, or to a pinned table. */
static int may_change_type(uint32_t frame)
{
    if (before.type_count[frame] || now.cells[TYPES_OBSERVED])
        return 0;
    return now.type[frame] == TYPE_WRITABLE || now.type[frame] == TYPE_L1;
}

static const char *judge_frame(uint32_t frame)
{
    const int pinned = now.flags[frame] & FRAME_PINNED && !(before.flags[frame] & FRAME_PINNED);
    const uint8_t type = before.type[frame];

    if (before.count[frame] && !now.count[frame])
        return "a frame lost its last reference";
    if (now.count[frame] > FRAME_COUNT_MAX || (now.count[frame] != before.count[frame] && now.owner[frame] != DOMID))
        return "a count went too far, or is another's";
    if (before.type_count[frame] > FRAME_COUNT_MAX - 8 && now.type_count[frame] > before.type_count[frame] &&
        now.type_count[frame] > FRAME_COUNT_MAX)
        return "too many uses";
    if (now.type[frame] != type && !may_change_type(frame))
        return "a type changed that must not";
    if (is_table(&before, frame) && !is_table(&now, frame) && !maps_nothing(frame))
        return "a table was forgotten with what it maps";
    if (pinned && (now.type[frame] != TYPE_L1 || !(now.flags[frame] & FRAME_VALIDATED) || !now.type_count[frame]))
        return "something else than a table was pinned";
    if (type != TYPE_L1 && type != TYPE_WRITABLE && type != TYPE_SEG_DESC && now.type[frame] == type &&
        memcmp(now.ram + frame * PAGE, before.ram + frame * PAGE, PAGE))
        return "a frame was written that is no data";
    return NULL;
}

/* Descriptors: none of ring 0, and nothing but segments may be present. */
static const char *judge_descriptors(uint32_t frame)
{
    uint32_t at, high;

    for (at = frame * PAGE; at < (frame + 1) * PAGE; at += 8) {
        if (!memcmp(now.ram + at, before.ram + at, 8))
            continue;
        memcpy(&high, now.ram + at + 4, sizeof(high));
        if (high >> 15 & 1 && (!(high >> 12 & 1) || high >> 21 & 1 || !(high >> 13 & 3)))
            return "a descriptor that no guest may have";
    }
    return NULL;
}

static const char *judge_entry(const struct gateway_block *block, uint32_t at)
{
    const uint64_t made = get(now.ram + at);
    const uint32_t frame = (uint32_t)((made & block->memory.address_mask) >> 12);

    if (made == get(before.ram + at))
        return NULL;
    if (before.code_map[at / PAGE])
        return "a table with code was changed";
    if (!(made & 1))
        return NULL;
    if (made & (block->memory.refused | block->memory.dropped))
        return "bits that no guest may set";
    if (frame >= FRAMES)
        return "an entry beyond memory";
    if ((made & 3) == 3 && !(get(before.ram + at) & 2) && (now.type[frame] != TYPE_WRITABLE || now.owner[frame] != DOMID))
        return "something else than data became writable";
    return NULL;
}

const char *judge(const struct gateway_block *block)
{
    uint32_t at, frame, references[2][FRAMES], uses[2][FRAMES];
    const char *wrong = NULL;

    surplus(block, &before, references[0], uses[0]);
    surplus(block, &now, references[1], uses[1]);
    if (memcmp(references[0], references[1], sizeof(*references)) || memcmp(uses[0], uses[1], sizeof(*uses)))
        return "references or uses that nothing accounts for";
    if (now.cells[CR3] != now.cells[INSTALLED] << 12 || now.words[block->layout.cr3] != (uint32_t)now.cells[CR3])
        return "two roots at once";
    for (frame = 0; frame < FRAMES && !wrong; frame++) {
        wrong = judge_frame(frame);
        if (!wrong && before.type[frame] == TYPE_SEG_DESC && now.type[frame] == TYPE_SEG_DESC)
            wrong = judge_descriptors(frame);
    }
    for (at = next_entry(&now, 0); at < RAM_SIZE && !wrong; at = next_entry(&now, at))
        wrong = judge_entry(block, at);
    return wrong;
}
