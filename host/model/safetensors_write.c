/* Writes a model as a safetensors file (safetensors.h): the same model gives the same bytes. */
#include "core/file.h"
#include "model/metadata.h"
#include "model/safetensors.h"

#include <endian.h>
#include <string.h>

static const sparse *weights_of(const reliht_model *model, size_t layer)
{
    return layer == model->layers ? &model->output : &model->hidden[layer];
}

static void place_tensors(const reliht_model *model, tensor *tensors, size_t count)
{
    uint64_t offset = 0;
    for (size_t t = 0; t < count; t++) {
        const sparse *weights = weights_of(model, tensors[t].layer);
        tensor_part part = tensors[t].part;
        tensors[t].count = part == TENSOR_CROW_INDICES ? weights->rows + 1
                           : part == TENSOR_SIGNS      ? weights->rows
                                                       : weights->nnz;
        tensors[t].begin = offset;
        offset += tensors[t].count * tensor_element_bytes(part);
        tensors[t].end = offset;
    }
}

/* The header as text (json_text_release), or NULL without memory. */
static char *header_text(const reliht_model *model, const tensor *tensors, size_t count)
{
    json_t *header = json_object();
    bool done = header && !json_object_set_new(header, "__metadata__",
                                               json_loads(reliht_model_metadata(model), 0, NULL));
    for (size_t t = 0; t < count && done; t++) {
        json_t *description =
            json_pack("{s:s, s:[I], s:[I, I]}", "dtype", tensor_dtype(tensors[t].part), "shape",
                      (json_int_t)tensors[t].count, "data_offsets", (json_int_t)tensors[t].begin,
                      (json_int_t)tensors[t].end);
        done = !json_object_set_new(header, tensors[t].name, description);
    }
    char *text = done ? json_dumps(header, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    json_decref(header);
    return text;
}

static reliht_status write_header(file_writer *writer, const reliht_model *model,
                                  const tensor *tensors, size_t count)
{
    char *text = header_text(model, tensors, count);
    if (!text)
        return fail(writer->context, RELIHT_MEMORY, "%s: out of memory for the header of a model",
                    writer->path);
    size_t length = strlen(text), padding = (8 - length % 8) % 8;
    uint64_t stored = htole64(length + padding);
    reliht_status status = file_write(writer, &stored, sizeof stored);
    if (!status)
        status = file_write(writer, text, length);
    if (!status)
        status = file_write(writer, "        ", padding);
    json_text_release(text);
    return status;
}

/* Row starts of all neurons, those without weights included. */
static reliht_status write_crow_indices(file_writer *writer, const sparse *weights)
{
    uint64_t piece[TENSOR_PIECE];
    size_t held = 0, live = 0;
    uint64_t start = 0;
    reliht_status status = RELIHT_OK;
    for (size_t row = 0; row <= weights->rows && !status; row++) {
        piece[held++] = htole64(start);
        if (live < weights->live && weights->row[live] == row)
            start = weights->start[++live];
        if (held == TENSOR_PIECE || row == weights->rows) {
            status = file_write(writer, piece, held * sizeof *piece);
            held = 0;
        }
    }
    return status;
}

static reliht_status write_col_indices(file_writer *writer, const sparse *weights)
{
    reliht_status status = RELIHT_OK;
    for (size_t e = 0; e < weights->nnz && !status; e++) {
        uint64_t column = htole64(weights->column[e]);
        status = file_write(writer, &column, sizeof column);
    }
    return status;
}

static reliht_status write_values(file_writer *writer, const sparse *weights)
{
    reliht_status status = RELIHT_OK;
    for (size_t e = 0; e < weights->nnz && !status; e++) {
        uint32_t bits;
        memcpy(&bits, &weights->value[e], sizeof bits);
        bits = htole32(bits);
        status = file_write(writer, &bits, sizeof bits);
    }
    return status;
}

static reliht_status write_signs(file_writer *writer, reliht_signs signs, size_t hidden)
{
    int8_t piece[TENSOR_PIECE];
    reliht_status status = RELIHT_OK;
    for (size_t first = 0; first < hidden && !status; first += TENSOR_PIECE) {
        size_t count = hidden - first < TENSOR_PIECE ? hidden - first : TENSOR_PIECE;
        for (size_t i = 0; i < count; i++)
            piece[i] = (int8_t)neuron_sign(signs, (uint32_t)(first + i));
        status = file_write(writer, piece, count);
    }
    return status;
}

static reliht_status write_tensor(file_writer *writer, const reliht_model *model,
                                  const tensor *written)
{
    const sparse *weights = weights_of(model, written->layer);
    switch (written->part) {
    case TENSOR_CROW_INDICES:
        return write_crow_indices(writer, weights);
    case TENSOR_COL_INDICES:
        return write_col_indices(writer, weights);
    case TENSOR_VALUES:
        return write_values(writer, weights);
    case TENSOR_SIGNS:
        break;
    }
    return write_signs(writer, model->signs, weights->rows);
}

reliht_status reliht_model_write(reliht_context *context, const reliht_model *model,
                                 const char *path)
{
    if (!model->metadata || !model->layers)
        return fail(context, RELIHT_ARGUMENT,
                    "%s: the model has no layers or no description, so it would not read back",
                    path);
    tensor tensors[TENSORS_MAXIMUM];
    size_t count = tensor_list(model->kind, model->layers, tensors);
    place_tensors(model, tensors, count);
    file_writer writer;
    reliht_status status = file_open_write(context, path, &writer);
    if (status)
        return status;
    status = write_header(&writer, model, tensors, count);
    for (size_t t = 0; t < count && !status; t++)
        status = write_tensor(&writer, model, &tensors[t]);
    if (status) {
        file_abandon(&writer);
        return status;
    }
    return file_commit(&writer);
}

reliht_status reliht_model_check_path(reliht_context *context, const char *path)
{
    return file_check_target(context, path);
}
