/* Histograms of |A v|^2 / (n |v|^2), one panel for each sparsity: over random directions, of the
 * extreme eigenvalues on random supports, and where the searches ended. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BINS 48u
/* Values below this share of the largest are drawn there: the axis is logarithmic. */
#define LEAST_SHARE 1e-6

struct bins {
    double low, high; /* of the logarithms */
};

static bool has_ending(const char *path, const char *ending)
{
    size_t length = strlen(path), tail = strlen(ending);
    return length > tail && !strcmp(path + length - tail, ending);
}

bool certify_plot_possible(const char *path)
{
    return has_ending(path, ".svg") || has_ending(path, ".png");
}

static double logarithm(double value, double largest)
{
    return log10(fmax(value, LEAST_SHARE * largest));
}

static struct bins bins_of(const reliht_certificate *certificate)
{
    struct bins bins = {INFINITY, -INFINITY};
    double largest = 0;
    for (size_t i = 0; i < 3; i++)
        largest = fmax(largest, certificate->levels[i].smoothness);
    for (size_t i = 0; i < 3; i++)
        bins.low = fmin(bins.low, logarithm(certificate->levels[i].convexity, largest));
    bins.high = log10(largest);
    double margin = 0.04 * (bins.high - bins.low) + 0.01;
    bins.low -= margin;
    bins.high += margin;
    return bins;
}

/* A block of data: middle of a bin, share of the values in it. */
static void write_histogram(const struct bins *bins, const char *name, size_t level,
                            const double *values, size_t count, FILE *script)
{
    size_t counts[BINS] = {0};
    double width = (bins->high - bins->low) / BINS;
    for (size_t i = 0; i < count; i++) {
        double place = (logarithm(values[i], pow(10, bins->high)) - bins->low) / width;
        size_t bin = place > 0 ? (size_t)place : 0;
        counts[bin < BINS ? bin : BINS - 1]++;
    }
    fprintf(script, "$%s%zu << END\n", name, level);
    for (size_t bin = 0; bin < BINS; bin++)
        fprintf(script, "%.6g %.6g %.6g\n", pow(10, bins->low + ((double)bin + 0.5) * width),
                count ? (double)counts[bin] / (double)count : 0,
                pow(10, bins->low + width * (double)(bin + 1)) -
                    pow(10, bins->low + width * (double)bin));
    fprintf(script, "END\n");
}

static void write_panel(const struct certify_values *values, const struct bins *bins, size_t i,
                        FILE *script)
{
    const reliht_certificate_level *level = &values->certificate->levels[i];
    double least = pow(10, bins->low);
    fprintf(script, "set title '%zu-sparse (%s)' noenhanced\n", level->sparsity,
            i == 0 ? "s" : (i == 1 ? "2s" : "3s"));
    fprintf(script, "unset arrow\n");
    fprintf(script, "set arrow from first %.6g, graph 0 to first %.6g, graph 1 nohead lw 2 dt 2\n",
            fmax(level->convexity, least), fmax(level->convexity, least));
    fprintf(script, "set arrow from first %.6g, graph 0 to first %.6g, graph 1 nohead lw 2 dt 2\n",
            level->smoothness, level->smoothness);
    fprintf(script,
            "plot $directions%zu using 1:2:3 with boxes lc rgb '#9aa5b1' title 'random directions'",
            i);
    if (values->supports)
        fprintf(
            script,
            ", $smallest%zu using 1:2:3 with boxes lc rgb '#0072b2' title "
            "'smallest on random supports', $largest%zu using 1:2:3 with boxes lc rgb '#d55e00' "
            "title 'largest on random supports'",
            i, i);
    fprintf(script, ", NaN with lines lc rgb 'black' lw 2 dt 2 title 'extremes found'\n");
}

static void write_script(const struct certify_values *values, bool svg, FILE *script)
{
    struct bins bins = bins_of(values->certificate);
    for (size_t i = 0; i < 3; i++) {
        write_histogram(&bins, "directions", i, values->quotients + i * values->directions,
                        values->directions, script);
        write_histogram(&bins, "smallest", i, values->smallest + i * values->supports,
                        values->supports, script);
        write_histogram(&bins, "largest", i, values->largest + i * values->supports,
                        values->supports, script);
    }
    fprintf(
        script,
        "set encoding utf8\nset terminal %s size 1080,840 font 'sans,12'%s\n"
        "set multiplot layout 3,1\nset logscale x\nset xrange [%.6g:%.6g]\n"
        "set yrange [0:*]\nset format x '%%g'\nset style fill solid 0.7 noborder\n"
        "set key outside right top\nset ylabel 'share'\nset xlabel '|Av|² / (n |v|²)' noenhanced\n",
        svg ? "svg" : "pngcairo", svg ? " background rgb 'white'" : "", pow(10, bins.low),
        pow(10, bins.high));
    for (size_t i = 0; i < 3; i++)
        write_panel(values, &bins, i, script);
    fprintf(script, "unset multiplot\n");
}

/* Moves a figure that is complete into place. */
static int keep_figure(int figure, const char *path)
{
    char *part = NULL, buffer[65536];
    ssize_t count;
    off_t from = 0;
    int file = -1, status = EXIT_FAILED;
    if (asprintf(&part, "%s.part", path) < 0) {
        part = NULL;
        goto done;
    }
    file = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0)
        goto done;
    while ((count = pread(figure, buffer, sizeof buffer, from)) > 0) {
        if (write(file, buffer, (size_t)count) != count)
            goto done;
        from += count;
    }
    if (count == 0 && !fsync(file) && !rename(part, path))
        status = EXIT_DONE;
done:
    if (status != EXIT_DONE)
        failure("'%s' could not be written: %s", path, strerror(errno));
    if (file >= 0)
        close(file);
    if (status != EXIT_DONE && part && file >= 0)
        unlink(part);
    free(part);
    return status;
}

int certify_plot(const struct certify_values *values, const char *path)
{
    char *text = NULL, message[256] = "";
    size_t length = 0;
    int status = EXIT_FAILED;
    int figure = memfd_create("figure", MFD_CLOEXEC);
    FILE *script = open_memstream(&text, &length);
    if (script)
        write_script(values, has_ending(path, ".svg"), script);
    if (figure < 0 || !script || fclose(script)) {
        failure("out of memory for '%s'", path);
        goto done;
    }
    int result = gnuplot_run(AT_FDCWD, text, length, figure, message, sizeof message);
    if (result == 127) {
        fprintf(stderr, "reliht: note: no '%s' without gnuplot; `apt install gnuplot-nox`\n", path);
        status = EXIT_DONE;
    } else if (result || lseek(figure, 0, SEEK_END) < 100) {
        status = failure("gnuplot could not draw '%s' (%s)", path, message);
    } else {
        status = keep_figure(figure, path);
    }
done:
    if (figure >= 0)
        close(figure);
    free(text);
    return status;
}
