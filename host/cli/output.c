/* .npy files: "\x93NUMPY", version 1.0, a header of Python literals padded to 64 bytes, the values
 * in C order. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int write_array(FILE *file, size_t rows, size_t columns, const float *values)
{
    unsigned char header[128];
    int length =
        snprintf((char *)header + 10, sizeof header - 10,
                 "{'descr': '<f4', 'fortran_order': False, 'shape': (%zu, %zu), }", rows, columns);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = sizeof header - 10; /* of the header's text, two bytes */
    header[9] = 0;
    memset(header + 10 + length, ' ', sizeof header - 10 - (size_t)length);
    header[sizeof header - 1] = '\n';
    if (fwrite(header, sizeof header, 1, file) != 1)
        return -1;
    for (size_t i = 0; i < rows * columns; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        const unsigned char bytes[4] = {bits & 0xff, bits >> 8 & 0xff, bits >> 16 & 0xff,
                                        bits >> 24};
        if (fwrite(bytes, 4, 1, file) != 1)
            return -1;
    }
    return 0;
}

int npy_write(const char *path, size_t rows, size_t columns, const float *values)
{
    char *temporary;
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
        return failure("out of memory while writing '%s'", path);
    int descriptor = mkstemp(temporary);
    FILE *file = descriptor < 0 ? NULL : fdopen(descriptor, "wb");
    bool written =
        file && !write_array(file, rows, columns, values) && !fflush(file) && !fsync(descriptor);
    int error = errno;
    if (file && fclose(file) && written) {
        written = false;
        error = errno;
    }
    if (written && rename(temporary, path)) {
        written = false;
        error = errno;
    }
    if (!written && descriptor >= 0)
        unlink(temporary);
    free(temporary);
    return written ? EXIT_DONE : failure("'%s' cannot be written: %s", path, strerror(error));
}
