#include "data/npy.h"

#include <stdio.h>
#include <string.h>

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES 6u
/* numpy writes headers of 128 bytes and reads up to 10000. */
#define HEADER_MAXIMUM 10000u
#define PIECE_BYTES ((size_t)4 << 20)
/* Elements of Fortran columns read at a time. */
#define RUN_ELEMENTS 1024u

static uint64_t load_little(const unsigned char *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value |= (uint64_t)bytes[i] << 8 * i;
    return value;
}

/* ---- the header: a Python dictionary of three known keys */

typedef struct header_text {
    npy_array *array;
    const char *text;
    size_t length, position;
    uint64_t offset; /* of the text in the file */
} header_text;

static reliht_status header_wrong(const header_text *header, const char *what)
{
    return file_malformed(&header->array->reader, header->offset + header->position,
                          "%s in the header of the array", what);
}

static void skip_spaces(header_text *header)
{
    while (header->position < header->length && header->text[header->position] &&
           strchr(" \t\n\r", header->text[header->position]))
        header->position++;
}

static bool accept(header_text *header, char wanted)
{
    skip_spaces(header);
    if (header->position >= header->length || header->text[header->position] != wanted)
        return false;
    header->position++;
    return true;
}

static reliht_status expect(header_text *header, char wanted)
{
    char what[] = "'?' expected";
    what[1] = wanted;
    return accept(header, wanted) ? RELIHT_OK : header_wrong(header, what);
}

/* A quoted string without escapes, shorter than `room`. */
static reliht_status read_string(header_text *header, char *string, size_t room)
{
    skip_spaces(header);
    char quote = header->position < header->length ? header->text[header->position] : 0;
    if (quote != '\'' && quote != '"')
        return header_wrong(header, "a quoted string expected");
    const char *begin = header->text + header->position + 1;
    const char *end = memchr(begin, quote, header->length - header->position - 1);
    if (!end || (size_t)(end - begin) >= room || memchr(begin, '\\', (size_t)(end - begin)))
        return header_wrong(header, "a string that is no known word");
    memcpy(string, begin, (size_t)(end - begin));
    string[end - begin] = 0;
    header->position = (size_t)(end - header->text) + 1;
    return RELIHT_OK;
}

static reliht_status read_type(header_text *header)
{
    static const struct {
        const char *name;
        npy_type type;
    } types[] = {{"<f4", NPY_FLOAT32}, {"<f8", NPY_FLOAT64}, {"|u1", NPY_UINT8},
                 {"<u1", NPY_UINT8},   {"<i4", NPY_INT32},   {"<i8", NPY_INT64}};
    skip_spaces(header);
    npy_array *array = header->array;
    if (header->position < header->length && header->text[header->position] == '[')
        return fail(array->reader.context, RELIHT_UNSUPPORTED,
                    "%s: byte %llu: an array of records; save one plain array", array->reader.path,
                    (unsigned long long)(header->offset + header->position));
    uint64_t offset = header->offset + header->position;
    char name[16];
    reliht_status status = read_string(header, name, sizeof name);
    if (status)
        return status;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(name, types[i].name) == 0) {
            array->type = types[i].type;
            return RELIHT_OK;
        }
    for (const char *c = name; *c; c++)
        if (*c < 0x20 || *c > 0x7e)
            return file_malformed(&array->reader, offset, "an element type that is no text");
    return fail(array->reader.context, RELIHT_UNSUPPORTED,
                "%s: byte %llu: elements of type '%s'; float32, float64, uint8, int32 and int64, "
                "little-endian, are read: convert the array with .astype('<f4'), class labels with "
                ".astype('<i4')",
                array->reader.path, (unsigned long long)offset, name);
}

static reliht_status read_order(header_text *header)
{
    static const char *const words[] = {"False", "True"};
    skip_spaces(header);
    for (size_t i = 0; i < 2; i++) {
        size_t length = strlen(words[i]);
        if (header->length - header->position >= length &&
            memcmp(header->text + header->position, words[i], length) == 0) {
            header->array->fortran = i == 1;
            header->position += length;
            return RELIHT_OK;
        }
    }
    return header_wrong(header, "True or False expected");
}

static reliht_status read_size(header_text *header, size_t *size)
{
    skip_spaces(header);
    size_t begin = header->position, value = 0;
    while (header->position < header->length && header->text[header->position] >= '0' &&
           header->text[header->position] <= '9') {
        value = value * 10 + (size_t)(header->text[header->position] - '0');
        if (value > RELIHT_MAX_DIMENSION)
            return header_wrong(header, "a dimension of 2^31 or more");
        header->position++;
    }
    if (header->position == begin)
        return header_wrong(header, "a dimension expected");
    if (value == 0)
        return header_wrong(header, "a dimension of 0");
    *size = value;
    return RELIHT_OK;
}

/* (n,) or (n, d, ...) */
static reliht_status read_shape(header_text *header)
{
    npy_array *array = header->array;
    reliht_status status = expect(header, '(');
    bool more = true;
    while (!status && more && !accept(header, ')')) {
        if (array->dimensions == NPY_DIMENSIONS_MAXIMUM)
            return header_wrong(header, "more than 32 dimensions");
        status = read_size(header, &array->shape[array->dimensions++]);
        if (status)
            return status;
        more = accept(header, ',');
        if (!more) {
            if (array->dimensions == 1)
                return header_wrong(header, "',' expected");
            status = expect(header, ')');
        }
    }
    if (!status && array->dimensions == 0)
        return header_wrong(header, "an array without dimensions");
    return status;
}

static reliht_status read_dictionary(header_text *header)
{
    static const struct {
        const char *key;
        reliht_status (*read)(header_text *header);
    } keys[] = {{"descr", read_type}, {"fortran_order", read_order}, {"shape", read_shape}};
    bool seen[3] = {false};
    reliht_status status = expect(header, '{');
    bool more = true;
    while (!status && more && !accept(header, '}')) {
        char word[16];
        status = read_string(header, word, sizeof word);
        size_t key = 0;
        while (!status && key < 3 && strcmp(word, keys[key].key) != 0)
            key++;
        if (!status && (key == 3 || seen[key]))
            status = header_wrong(header, "an unknown or repeated key");
        if (!status)
            status = expect(header, ':');
        if (status)
            return status;
        seen[key] = true;
        status = keys[key].read(header);
        more = accept(header, ',');
        if (!status && !more)
            status = expect(header, '}');
    }
    if (!status && !(seen[0] && seen[1] && seen[2]))
        return header_wrong(header, "'descr', 'fortran_order' or 'shape' missing");
    skip_spaces(header);
    if (!status && header->position != header->length)
        return header_wrong(header, "something after the dictionary");
    return status;
}

/* rows and columns from the shape, and the size of the file from both. */
static reliht_status check_size(npy_array *array)
{
    const file_reader *reader = &array->reader;
    uint64_t columns = 1, bytes;
    for (size_t i = 1; i < array->dimensions; i++) {
        columns *= array->shape[i];
        if (columns > RELIHT_MAX_DIMENSION)
            return file_malformed(reader, MAGIC_BYTES, "rows of 2^31 elements or more");
    }
    array->rows = array->shape[0];
    array->columns = columns;
    if (__builtin_mul_overflow(array->rows * columns, npy_element_bytes(array), &bytes) ||
        bytes != reader->size - array->data)
        return file_malformed(reader, array->data,
                              "the header tells of %zu x %zu elements of %zu bytes, but %llu bytes "
                              "follow",
                              array->rows, array->columns, npy_element_bytes(array),
                              (unsigned long long)(reader->size - array->data));
    return RELIHT_OK;
}

static reliht_status read_header(npy_array *array)
{
    file_reader *reader = &array->reader;
    unsigned char start[MAGIC_BYTES + 2], length_bytes[4] = {0};
    reliht_status status = file_read(reader, start, sizeof start);
    if (status)
        return status;
    if (memcmp(start, MAGIC, MAGIC_BYTES) != 0)
        return file_malformed(reader, 0, "not a .npy file (it does not begin with \\x93NUMPY)");
    unsigned version = start[MAGIC_BYTES];
    if (version < 1 || version > 3 || start[MAGIC_BYTES + 1])
        return file_malformed(reader, MAGIC_BYTES,
                              "version %u.%u of the .npy format; 1.0 to 3.0 are known", version,
                              start[MAGIC_BYTES + 1]);
    size_t length_size = version == 1 ? 2 : 4;
    status = file_read(reader, length_bytes, length_size);
    if (status)
        return status;
    size_t length = (size_t)load_little(length_bytes, length_size);
    char text[HEADER_MAXIMUM];
    if (length > sizeof text)
        return file_malformed(reader, reader->offset - length_size,
                              "a header of %zu bytes; at most %u are read", length, HEADER_MAXIMUM);
    header_text header = {.array = array, .text = text, .length = length, .offset = reader->offset};
    status = file_read(reader, text, length);
    if (!status)
        status = read_dictionary(&header);
    array->data = reader->offset;
    return status ? status : check_size(array);
}

reliht_status npy_open(reliht_context *context, const char *path, npy_array *array)
{
    *array = (npy_array){0};
    reliht_status status = file_open_read(context, path, &array->reader);
    if (status)
        return status;
    status = read_header(array);
    if (status)
        npy_close(array);
    return status;
}

void npy_close(npy_array *array)
{
    file_close_read(&array->reader);
}

/* ---- the elements */

bool npy_is_integer(const npy_array *array)
{
    return array->type == NPY_UINT8 || array->type == NPY_INT32 || array->type == NPY_INT64;
}

size_t npy_element_bytes(const npy_array *array)
{
    static const size_t bytes[] = {
        [NPY_FLOAT32] = 4, [NPY_FLOAT64] = 8, [NPY_UINT8] = 1, [NPY_INT32] = 4, [NPY_INT64] = 8};
    return bytes[array->type];
}

size_t npy_piece_rows(const npy_array *array)
{
    size_t rows = PIECE_BYTES / (array->columns * npy_element_bytes(array));
    return rows < 1 ? 1 : rows < array->rows ? rows : array->rows;
}

/* Where column number `stored` of a Fortran array (second dimension fastest) is in C order (last
 * dimension fastest). */
static size_t c_column(const npy_array *array, size_t stored)
{
    size_t column = 0, weight = array->columns;
    for (size_t i = 1; i < array->dimensions; i++) {
        weight /= array->shape[i];
        column += stored % array->shape[i] * weight;
        stored /= array->shape[i];
    }
    return column;
}

static reliht_status read_fortran(npy_array *array, size_t first, size_t count,
                                  unsigned char *bytes)
{
    const size_t size = npy_element_bytes(array);
    unsigned char run[RUN_ELEMENTS * 8];
    for (size_t stored = 0; stored < array->columns; stored++) {
        unsigned char *to = bytes + c_column(array, stored) * size;
        reliht_status status =
            file_seek(&array->reader, array->data + (stored * array->rows + first) * size);
        for (size_t row = 0; !status && row < count; row += RUN_ELEMENTS) {
            size_t rows = count - row < RUN_ELEMENTS ? count - row : RUN_ELEMENTS;
            status = file_read(&array->reader, run, rows * size);
            for (size_t i = 0; !status && i < rows; i++)
                memcpy(to + (row + i) * array->columns * size, run + i * size, size);
        }
        if (status)
            return status;
    }
    return RELIHT_OK;
}

reliht_status npy_read_bytes(npy_array *array, size_t first, size_t count, unsigned char *bytes)
{
    if (array->fortran && array->columns > 1)
        return read_fortran(array, first, count, bytes);
    size_t row_bytes = array->columns * npy_element_bytes(array);
    reliht_status status = file_seek(&array->reader, array->data + first * row_bytes);
    return status ? status : file_read(&array->reader, bytes, count * row_bytes);
}

static float load_float(npy_type type, const unsigned char *bytes)
{
    switch (type) {
    case NPY_FLOAT32: {
        uint32_t bits = (uint32_t)load_little(bytes, 4);
        float value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    case NPY_FLOAT64: {
        uint64_t bits = load_little(bytes, 8);
        double value;
        memcpy(&value, &bits, sizeof value);
        return (float)value;
    }
    case NPY_UINT8:
        return bytes[0];
    case NPY_INT32:
        return (float)(int32_t)load_little(bytes, 4);
    case NPY_INT64:
        return (float)(int64_t)load_little(bytes, 8);
    }
    return 0.0f;
}

reliht_status npy_read_floats(npy_array *array, size_t first, size_t count, unsigned char *bytes,
                              float *values)
{
    reliht_status status = npy_read_bytes(array, first, count, bytes);
    const size_t size = npy_element_bytes(array), elements = count * array->columns;
    for (size_t i = 0; !status && i < elements; i++)
        values[i] = load_float(array->type, bytes + i * size);
    return status;
}

static int64_t load_integer(npy_type type, const unsigned char *bytes)
{
    switch (type) {
    case NPY_INT32:
        return (int32_t)load_little(bytes, 4);
    case NPY_INT64:
        return (int64_t)load_little(bytes, 8);
    default:
        return bytes[0];
    }
}

reliht_status npy_read_labels(npy_array *array, size_t first, size_t count, unsigned char *bytes,
                              int32_t *labels)
{
    reliht_status status = npy_read_bytes(array, first, count, bytes);
    const size_t size = npy_element_bytes(array);
    for (size_t i = 0; !status && i < count; i++) {
        int64_t label = load_integer(array->type, bytes + i * size);
        if (label < 0 || label >= INT32_MAX)
            return fail(array->reader.context, RELIHT_DATA,
                        "%s: row %zu (from 0): %lld is not a class label (0, 1, 2, ...)",
                        array->reader.path, first + i, (long long)label);
        labels[i] = (int32_t)label;
    }
    return status;
}

/* ---- writing */

reliht_status reliht_npy_write(reliht_context *context, const char *path, size_t rows,
                               size_t columns, const float *values)
{
    if (!path || !values || rows > RELIHT_MAX_DIMENSION || columns > RELIHT_MAX_DIMENSION)
        return fail(context, RELIHT_ARGUMENT,
                    "npy: a path, values and sizes below 2^31 are needed");
    /* Magic, version and length take 10 bytes, the dictionary fills up to 128 with spaces. */
    char header[129];
    memcpy(header, MAGIC "\x01\x00\x76\x00", 10);
    int length =
        snprintf(header + 10, sizeof header - 10,
                 "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", rows, columns);
    memset(header + 10 + length, ' ', 128 - 10 - (size_t)length);
    header[127] = '\n';
    file_writer writer;
    reliht_status status = file_open_write(context, path, &writer);
    if (status)
        return status;
    status = file_write(&writer, header, 128);
    for (size_t i = 0; !status && i < rows * columns; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        const unsigned char bytes[4] = {(unsigned char)bits, (unsigned char)(bits >> 8),
                                        (unsigned char)(bits >> 16), (unsigned char)(bits >> 24)};
        status = file_write(&writer, bytes, sizeof bytes);
    }
    if (!status)
        return file_commit(&writer);
    file_abandon(&writer);
    return status;
}
