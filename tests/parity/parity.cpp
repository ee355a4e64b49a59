#include "parity/parity.h"

#include <cstring>

std::string parity::missing_backend()
{
    if (backend_kind == RELIHT_BACKEND_CPU)
        return "";
    reliht_context_options options;
    reliht_context_options_default(&options);
    options.backend = backend_kind;
    reliht_context *context;
    char message[256];
    if (reliht_context_create(&options, &context, message, sizeof message) == RELIHT_OK) {
        reliht_context_destroy(context);
        return "";
    }
    // anything but a missing GPU or driver is a failure, which the test itself will meet
    return strstr(message, "no usable GPU") ? message : "";
}
