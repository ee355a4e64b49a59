/* JSON results (jansson). JSON knows no NaN and no infinity: both become null. */
#include "cli/cli.h"

#include <math.h>

json_t *json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

void json_put(json_t *object, const char *key, json_t *value)
{
    if (object && value)
        json_object_set_new(object, key, value);
    else
        json_decref(value);
}

void json_put_count(json_t *object, const char *key, uint64_t value)
{
    json_put(object, key, json_integer((json_int_t)value));
}

int json_print_line(const json_t *object, FILE *file)
{
    if (!object || json_dumpf(object, file, JSON_COMPACT | JSON_REAL_PRECISION(12)))
        return -1;
    return fputc('\n', file) == EOF ? -1 : 0;
}
