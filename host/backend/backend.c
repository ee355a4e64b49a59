/* Which backend a context computes on. The CUDA backend is a module, libreliht_cuda.so beside the
 * library: its libraries take 180 MB of memory as soon as they are loaded, so a program on a
 * machine without a GPU never loads them. */
#include "backend/backend.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#define MODULE "libreliht_cuda.so"

typedef reliht_status open_function(reliht_context *context, backend **out);

/* Whether it is worth looking for a GPU: a driver's device file (Linux, WSL, Tegra), or a CUDA
 * runtime that is in this process already. */
static bool gpu_is_likely(void)
{
    return access("/dev/nvidiactl", F_OK) == 0 || access("/dev/dxg", F_OK) == 0 ||
           access("/dev/nvhost-gpu", F_OK) == 0 || dlsym(RTLD_DEFAULT, "cudaGetDeviceCount");
}

static reliht_status open_cuda(reliht_context *context, backend **out)
{
    *out = NULL;
    if (backend_cuda_open)
        return backend_cuda_open(context, out);
    /* Never closed: the CUDA runtime does not take being unloaded. */
    void *module = dlopen(MODULE, RTLD_NOW | RTLD_LOCAL);
    void *symbol = module ? dlsym(module, "backend_cuda_open") : NULL;
    if (!symbol) {
        const char *why = dlerror();
        return fail(context, RELIHT_BACKEND,
                    "backend cuda: this installation has no CUDA backend (%s); build with a CUDA "
                    "toolkit, or use backend cpu or auto",
                    why ? why : MODULE " is not usable");
    }
    open_function *open;
    memcpy(&open, &symbol, sizeof open);
    return open(context, out);
}

reliht_status backend_open(reliht_context *context, reliht_backend_kind kind)
{
    switch (kind) {
    case RELIHT_BACKEND_AUTO:
        if (gpu_is_likely() && open_cuda(context, &context->backend) == RELIHT_OK)
            return RELIHT_OK;
        return backend_cpu_open(context, &context->backend);
    case RELIHT_BACKEND_CPU:
        return backend_cpu_open(context, &context->backend);
    case RELIHT_BACKEND_CUDA:
        return open_cuda(context, &context->backend);
    }
    return fail(context, RELIHT_ARGUMENT, "backend %d is none of auto, cpu, cuda", (int)kind);
}

void backend_close(backend *self)
{
    if (self)
        self->operations->close(self);
}
