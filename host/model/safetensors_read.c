/* Reads a model from a safetensors file (safetensors.h), trusting nothing in it: every length is
 * held against the size of the file before anything is allocated by it, the tensors must fill the
 * file without gap or overlap, and indices, values and signs are checked as they pass by. */
#include "core/file.h"
#include "model/metadata.h"
#include "model/safetensors.h"

#include <endian.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct model_file {
    file_reader reader;
    uint64_t data; /* where the tensors begin */
    json_t *header;
    model_claims claims;
    tensor tensors[TENSORS_MAXIMUM];
    size_t tensor_count;
    reliht_model *model;
} model_file;

/* ---------------------------------------------------------------- header */

static reliht_status header_length(model_file *self, uint64_t *length)
{
    uint64_t stored;
    reliht_status status = file_read(&self->reader, &stored, sizeof stored);
    if (status)
        return status;
    *length = le64toh(stored);
    if (*length > file_remaining(&self->reader))
        return file_malformed(&self->reader, 0,
                              "a header of %llu bytes does not fit a file of %llu; is this a "
                              "safetensors file?",
                              (unsigned long long)*length, (unsigned long long)self->reader.size);
    if (*length > HEADER_BYTES_MAXIMUM)
        return file_malformed(&self->reader, 0, "a header of %llu bytes; at most %llu are read",
                              (unsigned long long)*length,
                              (unsigned long long)HEADER_BYTES_MAXIMUM);
    self->data = HEADER_LENGTH_BYTES + *length;
    return RELIHT_OK;
}

static reliht_status parse_header(model_file *self, const char *text, size_t length)
{
    json_error_t error;
    if (!length || text[0] != '{')
        return file_malformed(&self->reader, HEADER_LENGTH_BYTES, "the header must begin with '{'");
    self->header = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);
    if (!self->header && json_out_of_memory(&error))
        return fail(self->reader.context, RELIHT_MEMORY, "%s: out of memory for the header",
                    self->reader.path);
    if (!self->header) {
        size_t position = error.position > 0 ? (size_t)error.position : 0;
        return file_malformed(&self->reader, HEADER_LENGTH_BYTES + position,
                              "the header is not valid JSON: %s", error.text);
    }
    return RELIHT_OK;
}

static reliht_status read_header(model_file *self)
{
    reliht_context *context = self->reader.context;
    uint64_t length;
    reliht_status status = header_length(self, &length);
    if (status)
        return status;
    char *text;
    status =
        gate_allocate(context, MEMORY_workspace, (size_t)length, 1, "header of a model", &text);
    if (!status)
        status = file_read(&self->reader, text, (size_t)length);
    if (!status)
        status = parse_header(self, text, (size_t)length);
    gate_release(context, text);
    if (status)
        return status;
    const json_t *metadata = json_object_get(self->header, "__metadata__");
    if (!json_is_object(metadata))
        return file_malformed(&self->reader, HEADER_LENGTH_BYTES,
                              "the header has no __metadata__, so this is no model of reliht");
    return metadata_parse(context, self->reader.path, metadata, &self->claims);
}

/* ---------------------------------------------------------------- where the tensors lie */

static reliht_status malformed_tensor(const model_file *self, const tensor *bad, const char *what)
{
    return file_malformed(&self->reader, HEADER_LENGTH_BYTES, "tensor %s: %s", bad->name, what);
}

/* A count or an offset: an integer that isn't negative. */
static bool read_count(const json_t *value, uint64_t *count)
{
    json_int_t number = json_integer_value(value);
    *count = (uint64_t)number;
    return json_is_integer(value) && number >= 0;
}

static reliht_status describe_tensor(const model_file *self, tensor *read)
{
    const json_t *description = json_object_get(self->header, read->name);
    const json_t *shape = json_object_get(description, "shape");
    const json_t *offsets = json_object_get(description, "data_offsets");
    const char *dtype = json_string_value(json_object_get(description, "dtype"));
    if (!description)
        return malformed_tensor(self, read, "is missing");
    if (json_object_size(description) != 3 || !dtype || !json_is_array(shape) ||
        !json_is_array(offsets))
        return malformed_tensor(self, read, "needs dtype, shape and data_offsets, and no more");
    if (strcmp(dtype, tensor_dtype(read->part)))
        return file_malformed(&self->reader, HEADER_LENGTH_BYTES,
                              "tensor %s: dtype is %.16s; it must be %s", read->name, dtype,
                              tensor_dtype(read->part));
    if (json_array_size(shape) != 1 || !read_count(json_array_get(shape, 0), &read->count))
        return malformed_tensor(self, read, "its shape must be one number that is not negative");
    if (json_array_size(offsets) != 2 || !read_count(json_array_get(offsets, 0), &read->begin) ||
        !read_count(json_array_get(offsets, 1), &read->end) || read->begin > read->end)
        return malformed_tensor(self, read, "its data_offsets must be two ascending numbers");
    if (read->end > self->reader.size - self->data)
        return malformed_tensor(self, read, "its data_offsets lie past the end of the file");
    uint64_t bytes = read->end - read->begin, element = tensor_element_bytes(read->part);
    if (bytes % element || bytes / element != read->count)
        return malformed_tensor(self, read, "its data_offsets do not span what its shape says");
    return RELIHT_OK;
}

static bool is_expected(const model_file *self, const char *name)
{
    for (size_t t = 0; t < self->tensor_count; t++)
        if (!strcmp(name, self->tensors[t].name))
            return true;
    return !strcmp(name, "__metadata__");
}

static reliht_status refuse_unknown(model_file *self)
{
    const char *name;
    json_t *value;
    json_object_foreach(self->header, name, value) if (
        !is_expected(self, name)) return file_malformed(&self->reader, HEADER_LENGTH_BYTES,
                                                        "tensor %.64s is not part of such a model",
                                                        name);
    return RELIHT_OK;
}

static int by_offset(const void *left, const void *right)
{
    const tensor *a = left, *b = right;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    return (a->end > b->end) - (a->end < b->end);
}

/* Describes all tensors and puts them in the order they have in the file, which they must fill. */
static reliht_status locate_tensors(model_file *self)
{
    self->tensor_count = tensor_list(self->claims.kind, self->claims.layers, self->tensors);
    reliht_status status = refuse_unknown(self);
    for (size_t t = 0; t < self->tensor_count && !status; t++)
        status = describe_tensor(self, &self->tensors[t]);
    if (status)
        return status;
    qsort(self->tensors, self->tensor_count, sizeof *self->tensors, by_offset);
    uint64_t expected = 0;
    for (size_t t = 0; t < self->tensor_count; t++) {
        if (self->tensors[t].begin != expected)
            return file_malformed(&self->reader, self->data + self->tensors[t].begin,
                                  "tensor %s begins at %llu of the data, where %llu was expected: "
                                  "tensors must follow each other without gap or overlap",
                                  self->tensors[t].name, (unsigned long long)self->tensors[t].begin,
                                  (unsigned long long)expected);
        expected = self->tensors[t].end;
    }
    if (self->data + expected != self->reader.size)
        return file_malformed(&self->reader, self->data + expected,
                              "%llu bytes follow the last tensor",
                              (unsigned long long)(self->reader.size - self->data - expected));
    return RELIHT_OK;
}

/* ---------------------------------------------------------------- weights */

static sparse *weights_of(reliht_model *model, size_t layer)
{
    return layer == model->layers ? &model->output : &model->hidden[layer];
}

static const tensor *find_tensor(const model_file *self, tensor_part part, size_t layer)
{
    for (size_t t = 0; t < self->tensor_count; t++)
        if (self->tensors[t].part == part && self->tensors[t].layer == layer)
            return &self->tensors[t];
    return NULL;
}

/* Room for the weights of one layer, once its tensors agree about their lengths. */
static reliht_status create_weights(model_file *self, size_t layer, size_t rows, size_t columns)
{
    const tensor *crow = find_tensor(self, TENSOR_CROW_INDICES, layer);
    const tensor *col = find_tensor(self, TENSOR_COL_INDICES, layer);
    const tensor *values = find_tensor(self, TENSOR_VALUES, layer);
    if (crow->count != rows + 1)
        return malformed_tensor(self, crow, "its length must be the number of neurons and one");
    if (col->count != values->count)
        return malformed_tensor(self, col, "its length differs from that of the values");
    if (values->count > RELIHT_MAX_DIMENSION)
        return malformed_tensor(self, values, "holds more than 2147483647 values");
    sparse *weights = weights_of(self->model, layer);
    reliht_status status =
        sparse_create(self->reader.context, weights, rows, columns, (size_t)values->count);
    weights->nnz = status ? 0 : (size_t)values->count;
    return status;
}

static reliht_status create_model(model_file *self)
{
    const model_claims *claims = &self->claims;
    reliht_status status = model_create(self->reader.context, claims->kind, claims->inputs,
                                        claims->outputs, claims->bias, &self->model);
    if (status)
        return status;
    reliht_model *model = self->model;
    model->signs = claims->signs;
    model->loss = claims->loss;
    model->preparation = claims->preparation;
    model->layers = claims->layers;
    size_t columns = claims->inputs;
    for (size_t l = 0; l < claims->layers && !status; l++) {
        status = create_weights(self, l, claims->hidden[l], columns + claims->bias);
        columns = claims->hidden[l];
    }
    if (!status && claims->kind == RELIHT_FACTORED)
        status = create_weights(self, claims->layers, columns, claims->outputs);
    if (!status && claims->kind == RELIHT_FUSED) {
        const tensor *signs = find_tensor(self, TENSOR_SIGNS, claims->layers - 1);
        if (signs->count != columns)
            status = malformed_tensor(self, signs, "its length must be the number of neurons");
    }
    if (!status)
        status = metadata_keep(self->model, json_object_get(self->header, "__metadata__"));
    return status;
}

/* Byte offset of an element, for messages. */
static uint64_t place_of(const model_file *self, const tensor *read, uint64_t element)
{
    return self->data + read->begin + element * tensor_element_bytes(read->part);
}

static size_t next_piece(const tensor *read, uint64_t done)
{
    uint64_t left = read->count - done;
    return left < TENSOR_PIECE ? (size_t)left : TENSOR_PIECE;
}

/* From row starts to the rows that hold entries. */
static reliht_status read_crow_indices(model_file *self, const tensor *read, sparse *weights)
{
    uint64_t piece[TENSOR_PIECE], before = 0;
    for (uint64_t done = 0; done < read->count;) {
        size_t count = next_piece(read, done);
        reliht_status status = file_read(&self->reader, piece, count * sizeof *piece);
        if (status)
            return status;
        for (size_t i = 0; i < count; i++) {
            uint64_t row = done + i, start = le64toh(piece[i]);
            if (start < before || start > weights->nnz || (!row && start) ||
                (row == weights->rows && start != weights->nnz))
                return file_malformed(&self->reader, place_of(self, read, row),
                                      "tensor %s: row starts must rise from 0 to %zu", read->name,
                                      weights->nnz);
            if (start > before) {
                weights->row[weights->live++] = (uint32_t)(row - 1);
                weights->start[weights->live] = (uint32_t)start;
            }
            before = start;
        }
        done += count;
    }
    return RELIHT_OK;
}

static reliht_status read_col_indices(model_file *self, const tensor *read, sparse *weights)
{
    uint64_t piece[TENSOR_PIECE];
    for (uint64_t done = 0; done < read->count;) {
        size_t count = next_piece(read, done);
        reliht_status status = file_read(&self->reader, piece, count * sizeof *piece);
        if (status)
            return status;
        for (size_t i = 0; i < count; i++) {
            uint64_t column = le64toh(piece[i]);
            if (column >= weights->columns)
                return file_malformed(&self->reader, place_of(self, read, done + i),
                                      "tensor %s: an index must be below %zu", read->name,
                                      weights->columns);
            weights->column[done + i] = (uint32_t)column;
        }
        done += count;
    }
    return RELIHT_OK;
}

static reliht_status read_values(model_file *self, const tensor *read, sparse *weights)
{
    reliht_status status =
        file_read(&self->reader, weights->value, weights->nnz * sizeof *weights->value);
    for (size_t e = 0; e < weights->nnz && !status; e++) {
        uint32_t bits;
        memcpy(&bits, &weights->value[e], sizeof bits);
        bits = le32toh(bits);
        memcpy(&weights->value[e], &bits, sizeof bits);
        if (!isfinite(weights->value[e]))
            status = file_malformed(&self->reader, place_of(self, read, e),
                                    "tensor %s: a weight is not finite", read->name);
    }
    return status;
}

static reliht_status read_signs(model_file *self, const tensor *read)
{
    int8_t piece[TENSOR_PIECE];
    for (uint64_t done = 0; done < read->count;) {
        size_t count = next_piece(read, done);
        reliht_status status = file_read(&self->reader, piece, count);
        if (status)
            return status;
        for (size_t i = 0; i < count; i++)
            if (piece[i] != (int8_t)neuron_sign(self->model->signs, (uint32_t)(done + i)))
                return file_malformed(&self->reader, place_of(self, read, done + i),
                                      "tensor %s: not the sign that the description gives (%s)",
                                      read->name,
                                      self->model->signs == RELIHT_SIGNS_MIXED ? "mixed" : "plus");
        done += count;
    }
    return RELIHT_OK;
}

static reliht_status read_tensor(model_file *self, const tensor *read)
{
    sparse *weights = weights_of(self->model, read->layer);
    switch (read->part) {
    case TENSOR_CROW_INDICES:
        return read_crow_indices(self, read, weights);
    case TENSOR_COL_INDICES:
        return read_col_indices(self, read, weights);
    case TENSOR_VALUES:
        return read_values(self, read, weights);
    case TENSOR_SIGNS:
        break;
    }
    return read_signs(self, read);
}

/* Columns must ascend within a row, which shows only when both index tensors have been read. */
static reliht_status check_ascending(const model_file *self, size_t layer)
{
    const sparse *weights = weights_of(self->model, layer);
    const tensor *read = find_tensor(self, TENSOR_COL_INDICES, layer);
    for (size_t j = 0; j < weights->live; j++)
        for (size_t e = weights->start[j] + 1; e < weights->start[j + 1]; e++)
            if (weights->column[e] <= weights->column[e - 1])
                return file_malformed(&self->reader, place_of(self, read, e),
                                      "tensor %s: indices must ascend within neuron %u", read->name,
                                      weights->row[j]);
    return RELIHT_OK;
}

static reliht_status read_model(model_file *self)
{
    reliht_status status = read_header(self);
    if (!status)
        status = locate_tensors(self);
    if (!status)
        status = create_model(self);
    for (size_t t = 0; t < self->tensor_count && !status; t++)
        status = read_tensor(self, &self->tensors[t]);
    size_t matrices = self->claims.layers + (self->claims.kind == RELIHT_FACTORED);
    for (size_t l = 0; l < matrices && !status; l++)
        status = check_ascending(self, l);
    return status;
}

reliht_status reliht_model_read(reliht_context *context, const char *path, reliht_model **model)
{
    *model = NULL;
    model_file *self; /* too large for the stacks of some threads */
    reliht_status status =
        gate_allocate(context, MEMORY_workspace, 1, sizeof *self, "model reader", &self);
    if (status)
        return status;
    status = file_open_read(context, path, &self->reader);
    if (!status) {
        status = read_model(self);
        file_close_read(&self->reader);
    }
    json_decref(self->header);
    if (status)
        reliht_model_destroy(self->model);
    else
        *model = self->model;
    gate_release(context, self);
    return status;
}
