/* The data sets the project knows by name: where their files are, which samples of them are wanted,
 * and how they become inputs. */
#include "data/dataset.h"
#include "data/images.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The split of the paper, per class. */
#define PAPER_TRAIN 5000u
#define PAPER_TEST 1000u
#define PIECE_BYTES ((size_t)1 << 19)
#define PLACES 3u

typedef struct named_set {
    const char *name;
    const image_format *format;
    const char *packaged; /* folder of the Debian package, or NULL */
} named_set;

static const named_set named_sets[] = {
    {"mnist", &idx_format, NULL},
    {"fashion-mnist", &idx_format, "/usr/share/datasets/fashion-mnist"},
    {"cifar10", &cifar_format, NULL},
};

void reliht_named_options_default(reliht_named_options *options)
{
    *options = (reliht_named_options){.name = "fashion-mnist"};
}

reliht_status image_path(reliht_context *context, const char *folder, const char *name,
                         const char *ending, char path[FILE_PATH_BYTES])
{
    int length = snprintf(path, FILE_PATH_BYTES, "%s/%s%s", folder, name, ending);
    if (length > 0 && (size_t)length < FILE_PATH_BYTES)
        return RELIHT_OK;
    return fail(context, RELIHT_IO, "%.200s...: the name of the folder is too long", folder);
}

/* ---- options and place */

static reliht_status find_set(reliht_context *context, const char *name, const named_set **set)
{
    for (size_t i = 0; i < sizeof named_sets / sizeof *named_sets; i++)
        if (name && strcmp(name, named_sets[i].name) == 0) {
            *set = &named_sets[i];
            return RELIHT_OK;
        }
    return fail(context, RELIHT_ARGUMENT,
                "data set \"%s\": mnist, fashion-mnist and cifar10 are known", name ? name : "");
}

/* class_of[label] is the number of a kept label, or -1. */
static reliht_status number_classes(reliht_context *context, const reliht_named_options *options,
                                    int class_of[IMAGE_CLASSES])
{
    for (size_t label = 0; label < IMAGE_CLASSES; label++)
        class_of[label] = options->class_count ? -1 : (int)label;
    if (!options->class_count)
        return RELIHT_OK;
    if (options->class_count < 2 || options->class_count > IMAGE_CLASSES || !options->classes)
        return fail(context, RELIHT_ARGUMENT, "%s: %zu classes; 2 to %u can be kept", options->name,
                    options->class_count, IMAGE_CLASSES);
    for (size_t i = 0; i < options->class_count; i++) {
        uint32_t label = options->classes[i];
        if (label >= IMAGE_CLASSES)
            return fail(context, RELIHT_ARGUMENT, "%s: class %u; 0 to %u are there", options->name,
                        (unsigned)label, IMAGE_CLASSES - 1);
        if (class_of[label] >= 0)
            return fail(context, RELIHT_ARGUMENT, "%s: class %u is listed twice", options->name,
                        (unsigned)label);
        class_of[label] = (int)i;
    }
    return RELIHT_OK;
}

/* Folders where the set may be, in order; returns their number. */
static size_t list_places(const named_set *set, const char *directory,
                          char places[PLACES][FILE_PATH_BYTES])
{
    size_t count = 0;
    const char *data = getenv("RELIHT_DATA");
    if (directory) {
        snprintf(places[count++], FILE_PATH_BYTES, "%s", directory);
        snprintf(places[count++], FILE_PATH_BYTES, "%s/%s", directory, set->name);
        return count;
    }
    if (set->packaged)
        snprintf(places[count++], FILE_PATH_BYTES, "%s", set->packaged);
    if (data && *data) {
        snprintf(places[count++], FILE_PATH_BYTES, "%s/%s", data, set->name);
        snprintf(places[count++], FILE_PATH_BYTES, "%s", data);
    }
    return count;
}

static reliht_status find_folder(reliht_context *context, const named_set *set,
                                 const char *directory, image_part part,
                                 char folder[FILE_PATH_BYTES])
{
    char places[PLACES][FILE_PATH_BYTES], looked[512] = "";
    size_t count = list_places(set, directory, places), used = 0;
    for (size_t i = 0; i < count; i++) {
        if (set->format->present(places[i], part)) {
            memcpy(folder, places[i], FILE_PATH_BYTES);
            return RELIHT_OK;
        }
        if (used < sizeof looked)
            used += (size_t)snprintf(looked + used, sizeof looked - used, "%s%s", i ? ", " : "",
                                     places[i]);
    }
    return fail(context, RELIHT_IO,
                "%s: its files are not in %s; get them with `datasets/get %s` and name the folder "
                "(--data-dir, or the environment variable RELIHT_DATA)",
                set->name, count ? looked : "any known folder (RELIHT_DATA is not set)", set->name);
}

/* ---- which samples go where */

typedef enum destination { TO_NOBODY, TO_TRAIN, TO_TEST } destination;

typedef struct selection {
    reliht_context *context;
    const named_set *set;
    const reliht_named_options *options;
    bool wanted[3]; /* by destination */
    int class_of[IMAGE_CLASSES];
    size_t seen[IMAGE_CLASSES]; /* samples of each label so far, for the split of the paper */
    char folder[FILE_PATH_BYTES];
    unsigned char *labels[PART_COUNT];
    unsigned char *destinations[PART_COUNT]; /* of each sample of a part that is read, else NULL */
    size_t samples[PART_COUNT];
    size_t counts[3]; /* samples by destination */
} selection;

static destination destination_of(selection *chosen, image_part part, unsigned char label)
{
    const reliht_named_options *options = chosen->options;
    if (chosen->class_of[label] < 0)
        return TO_NOBODY;
    destination to = part == PART_TRAIN ? TO_TRAIN : TO_TEST;
    if (options->paper_split) {
        size_t number = chosen->seen[label]++;
        to = number < PAPER_TRAIN                ? TO_TRAIN
             : number < PAPER_TRAIN + PAPER_TEST ? TO_TEST
                                                 : TO_NOBODY;
    }
    size_t limit = to == TO_TRAIN ? options->train_limit : options->test_limit;
    return chosen->wanted[to] && !(limit && chosen->counts[to] == limit) ? to : TO_NOBODY;
}

static reliht_status choose_from(selection *chosen, image_part part)
{
    const image_format *format = chosen->set->format;
    reliht_status status = format->read_labels(chosen->context, chosen->folder, part,
                                               &chosen->labels[part], &chosen->samples[part]);
    if (!status)
        status = gate_allocate(chosen->context, MEMORY_workspace, chosen->samples[part], 1,
                               "choice of samples", &chosen->destinations[part]);
    for (size_t i = 0; !status && i < chosen->samples[part]; i++) {
        destination to = destination_of(chosen, part, chosen->labels[part][i]);
        chosen->destinations[part][i] = (unsigned char)to;
        chosen->counts[to]++;
    }
    return status;
}

/* Whether the split of the paper needs more than the samples seen so far. */
static bool split_incomplete(const selection *chosen)
{
    size_t needed = chosen->wanted[TO_TEST] ? PAPER_TRAIN + PAPER_TEST : PAPER_TRAIN;
    for (size_t label = 0; label < IMAGE_CLASSES; label++)
        if (chosen->class_of[label] >= 0 && chosen->seen[label] < needed)
            return true;
    return false;
}

static reliht_status choose(selection *chosen)
{
    const bool paper = chosen->options->paper_split;
    const image_part first = paper || chosen->wanted[TO_TRAIN] ? PART_TRAIN : PART_TEST;
    reliht_status status = find_folder(chosen->context, chosen->set, chosen->options->directory,
                                       first, chosen->folder);
    if (!status)
        status = choose_from(chosen, first);
    if (!status && first == PART_TRAIN &&
        (paper ? split_incomplete(chosen) : chosen->wanted[TO_TEST]))
        status = choose_from(chosen, PART_TEST);
    for (int to = TO_TRAIN; !status && to <= TO_TEST; to++)
        if (chosen->wanted[to] && !chosen->counts[to])
            status =
                fail(chosen->context, RELIHT_DATA, "%s: no sample of the kept classes is for %s",
                     chosen->set->name, to == TO_TRAIN ? "training" : "test");
    return status;
}

static void selection_release(selection *chosen)
{
    for (int part = 0; part < PART_COUNT; part++) {
        gate_release(chosen->context, chosen->labels[part]);
        gate_release(chosen->context, chosen->destinations[part]);
    }
}

/* ---- images */

/* A data set under way. */
typedef struct target {
    reliht_dataset *dataset;
    size_t done;
} target;

static void prepare(const selection *chosen, preprocessing *preparation)
{
    const reliht_named_options *options = chosen->options;
    *preparation = (preprocessing){.kind = PREPROCESSING_PIXELS,
                                   .scale = options->raw ? 1.0f : 1.0f / 255.0f,
                                   .class_count = IMAGE_CLASSES,
                                   .paper_split = options->paper_split};
    snprintf(preparation->source, sizeof preparation->source, "%s", chosen->set->name);
    for (uint32_t i = 0; i < IMAGE_CLASSES; i++)
        preparation->classes[i] = i;
    if (!options->class_count)
        return;
    preparation->class_count = (uint32_t)options->class_count;
    memcpy(preparation->classes, options->classes, options->class_count * sizeof *options->classes);
}

static reliht_status target_create(const selection *chosen, destination to, size_t inputs,
                                   target *made)
{
    size_t classes = chosen->options->class_count ? chosen->options->class_count : IMAGE_CLASSES;
    reliht_status status =
        dataset_allocate(chosen->context, chosen->counts[to], inputs, ELEMENT_BYTE,
                         classes == 2 ? 1 : classes, classes == 2, classes, &made->dataset);
    if (status)
        return status;
    prepare(chosen, &made->dataset->preparation);
    made->dataset->scale = made->dataset->preparation.scale;
    return RELIHT_OK;
}

/* The piece `rows` holds samples first .. first + count - 1 of a part. */
static void deal(const selection *chosen, image_part part, size_t first, size_t count,
                 const unsigned char *rows, target targets[3])
{
    for (size_t i = 0; i < count; i++) {
        target *to = &targets[chosen->destinations[part][first + i]];
        if (!to->dataset) /* nobody's */
            continue;
        const size_t inputs = to->dataset->inputs;
        to->dataset->labels[to->done] = chosen->class_of[chosen->labels[part][first + i]];
        memcpy((unsigned char *)to->dataset->x + to->done++ * inputs, rows + i * inputs, inputs);
    }
}

/* Makes the data sets when the size of the images is first known, and checks it afterwards. */
static reliht_status meet_stream(const selection *chosen, const image_stream *stream,
                                 target targets[3])
{
    reliht_status status = RELIHT_OK;
    if (stream->samples != chosen->samples[stream->part])
        return fail(chosen->context, RELIHT_FORMAT,
                    "%s: byte 4: %zu images, but there are %zu labels", stream->path,
                    stream->samples, chosen->samples[stream->part]);
    for (int to = TO_TRAIN; !status && to <= TO_TEST; to++) {
        if (!chosen->wanted[to])
            continue;
        if (!targets[to].dataset)
            status = target_create(chosen, (destination)to, stream->inputs, &targets[to]);
        else if (targets[to].dataset->inputs != stream->inputs)
            status = fail(chosen->context, RELIHT_FORMAT,
                          "%s: byte 8: images of %zu pixels, but those for training have %zu",
                          stream->path, stream->inputs, targets[to].dataset->inputs);
    }
    return status;
}

static reliht_status read_part(const selection *chosen, image_part part, target targets[3])
{
    const image_format *format = chosen->set->format;
    image_stream stream;
    unsigned char *rows = NULL;
    reliht_status status = format->open(chosen->context, chosen->folder, part, &stream);
    if (status)
        return status;
    size_t piece = PIECE_BYTES / stream.inputs;
    piece = piece < 1 ? 1 : piece < stream.samples ? piece : stream.samples;
    status = meet_stream(chosen, &stream, targets);
    if (!status)
        status = gate_allocate(chosen->context, MEMORY_workspace, piece * stream.inputs, 1,
                               "piece of the images", &rows);
    for (size_t first = 0; !status && first < stream.samples; first += piece) {
        size_t left = stream.samples - first, count = left < piece ? left : piece;
        status = format->read(&stream, count, rows);
        if (!status)
            deal(chosen, part, first, count, rows, targets);
    }
    if (!status)
        status = format->finish(&stream);
    gate_release(chosen->context, rows);
    format->close(&stream);
    return status;
}

static bool part_needed(const selection *chosen, image_part part)
{
    const unsigned char *destinations = chosen->destinations[part];
    for (size_t i = 0; destinations && i < chosen->samples[part]; i++)
        if (destinations[i] != TO_NOBODY)
            return true;
    return false;
}

static reliht_status read_images(const selection *chosen, target targets[3])
{
    reliht_status status = RELIHT_OK;
    for (int part = 0; !status && part < PART_COUNT; part++)
        if (part_needed(chosen, (image_part)part))
            status = read_part(chosen, (image_part)part, targets);
    for (int to = TO_TRAIN; !status && to <= TO_TEST; to++)
        if (targets[to].dataset)
            status = dataset_finish(targets[to].dataset);
    return status;
}

reliht_status reliht_dataset_read_named(reliht_context *context,
                                        const reliht_named_options *options, reliht_dataset **train,
                                        reliht_dataset **test)
{
    reliht_dataset **outputs[3] = {NULL, train, test};
    target targets[3] = {{0}};
    selection chosen = {.context = context, .options = options, .wanted = {false, train, test}};
    for (int to = TO_TRAIN; to <= TO_TEST; to++)
        if (outputs[to])
            *outputs[to] = NULL;
    if (!train && !test)
        return fail(context, RELIHT_ARGUMENT, "named data set: neither part of it is asked for");
    reliht_status status = find_set(context, options->name, &chosen.set);
    if (!status)
        status = number_classes(context, options, chosen.class_of);
    if (!status)
        status = choose(&chosen);
    if (!status)
        status = read_images(&chosen, targets);
    for (int to = TO_TRAIN; !status && to <= TO_TEST; to++)
        if (outputs[to]) {
            *outputs[to] = targets[to].dataset;
            targets[to].dataset = NULL;
        }
    for (int to = TO_TRAIN; to <= TO_TEST; to++)
        reliht_dataset_destroy(targets[to].dataset);
    selection_release(&chosen);
    return status;
}
