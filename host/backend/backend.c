#include "backend/backend.h"

reliht_status backend_open(reliht_context *context, reliht_backend_kind kind)
{
    switch (kind) {
    case RELIHT_BACKEND_AUTO:
    case RELIHT_BACKEND_CPU:
        return backend_cpu_open(context, &context->backend);
    case RELIHT_BACKEND_CUDA:
        return fail(context, RELIHT_BACKEND,
                    "backend cuda: this build has no CUDA backend; use backend cpu or auto");
    }
    return fail(context, RELIHT_ARGUMENT, "backend %d is none of auto, cpu, cuda", (int)kind);
}

void backend_close(backend *self)
{
    if (self)
        self->operations->close(self);
}
