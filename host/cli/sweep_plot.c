/* Heatmaps of a sweep by gnuplot: one panel per method, rows upwards, columns to the right, the
 * mean over seeds as colour and as a number.
 *
 * Limits of the colours are fixed per task and number, so that figures of different sweeps compare;
 * the colours are those of viridis, which keep their order for colour-blind eyes and in print. The
 * script stays in the folder: `gnuplot heatmap.gnuplot` there draws the figures again. */
#include "cli/sweep.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LABELLED_MAXIMUM 24u /* rows or columns with numbers in the cells */
#define PANEL_SPARE_WIDTH 210u
#define PANEL_SPARE_HEIGHT 150u
#define CELL_WIDTH 44u
#define CELL_HEIGHT 34u
#define PANEL_MINIMUM 420u

/* viridis at ten places from 0 to 1 (matplotlib, CC0). */
static const char *const VIRIDIS[] = {"#440154", "#482878", "#3e4989", "#31688e", "#26828e",
                                      "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"};
#define VIRIDIS_COUNT (sizeof VIRIDIS / sizeof VIRIDIS[0])

struct scale {
    double low, high; /* of the colours; equal: as the data need */
    const char *label, *format;
};

/* The published limits, where there are such. */
static struct scale scale_of(const struct sweep *sweep, enum sweep_number metric)
{
    const char *name = sweep_metric_name(sweep, metric);
    bool two_classes = true;
    for (size_t cell = 0; cell < sweep->cell_count; cell++)
        two_classes = two_classes && !(sweep->cells[cell].numbers[NUMBER_outputs] > 1);
    double chance = two_classes ? 0.5 : 0.1;
    if (!strcmp(name, "psnr_db"))
        return (struct scale){sweep->task->bit == PLANTED ? -20 : 0, 50, "PSNR, dB", "%.0f"};
    if (!strcmp(name, "test_accuracy"))
        return (struct scale){chance, 1, "test accuracy", "%.3f"};
    if (!strcmp(name, "train_accuracy"))
        return (struct scale){chance, 1, "training accuracy", "%.3f"};
    if (!strcmp(name, "support_recall"))
        return (struct scale){0, 1, "share of the support recovered", "%.2f"};
    if (!strcmp(name, "recovered"))
        return (struct scale){0, 1, "share of runs that recovered the weights", "%.2f"};
    return (struct scale){0, 0, name, "%.3g"};
}

static const char *axis_label(const char *axis)
{
    static const char *const labels[][2] = {{"hidden", "hidden neurons"},
                                            {"nnz", "nonzero weights"},
                                            {"samples", "samples"},
                                            {"inputs", "inputs"},
                                            {"length", "length"},
                                            {"measurements", "measurements"},
                                            {"planted-hidden", "planted neurons"}};
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
        if (!strcmp(labels[i][0], axis))
            return labels[i][1];
    }
    return axis;
}

/* Mean over the seeds that have a value; NaN if none has. */
static double mean_over_seeds(const struct sweep *sweep, cell_place place, enum sweep_number metric)
{
    double sum = 0;
    size_t count = 0;
    for (place.seed = 0; place.seed < sweep->seeds.count; place.seed++) {
        double value = sweep_number_of(sweep, sweep_cell(sweep, place), metric);
        if (!isnan(value)) {
            sum += value;
            count++;
        }
    }
    return count ? sum / (double)count : NAN;
}

/* The limits, from the data where the scale leaves them open. */
static struct scale fitted_scale(const struct sweep *sweep, enum sweep_number metric)
{
    struct scale scale = scale_of(sweep, metric);
    if (scale.low < scale.high)
        return scale;
    scale.low = INFINITY;
    scale.high = -INFINITY;
    for (size_t cell = 0; cell < sweep->cell_count; cell++) {
        double value = mean_over_seeds(sweep, sweep_place(sweep, cell), metric);
        scale.low = value < scale.low ? value : scale.low;
        scale.high = value > scale.high ? value : scale.high;
    }
    if (scale.low > scale.high) /* there are no data */
        scale.low = scale.high = 0;
    if (scale.low == scale.high)
        scale.high = scale.low + 1;
    return scale;
}

/* ---------------------------------------------------------------- the script */

/* Data of a panel: place, value, number to show, whether white is read better than black; then the
 * places of the cells that cannot exist. */
static void write_data(const struct sweep *sweep, size_t method, enum sweep_number metric,
                       const struct scale *scale, size_t *values, size_t *impossible, FILE *file)
{
    cell_place place = {.method = method};
    *values = *impossible = 0;
    fprintf(file, "$values%zu << END\n", method);
    for (place.row = 0; place.row < sweep->rows.count; place.row++) {
        for (place.column = 0; place.column < sweep->columns.count; place.column++) {
            double value = mean_over_seeds(sweep, place, metric);
            if (isnan(value))
                continue;
            fprintf(file, "%zu %zu %.9g ", place.column, place.row, value);
            fprintf(file, scale->format, value);
            fprintf(file, " %d\n", value < (scale->low + scale->high) / 2 ? 0xffffff : 0);
            ++*values;
        }
    }
    fprintf(file, "END\n$impossible%zu << END\n", method);
    for (place.row = 0; place.row < sweep->rows.count; place.row++) {
        for (place.column = 0; place.column < sweep->columns.count; place.column++) {
            place.seed = 0;
            if (sweep->cells[sweep_cell(sweep, place)].state != CELL_REFUSED)
                continue;
            fprintf(file, "%zu %zu\n", place.column, place.row);
            ++*impossible;
        }
    }
    fprintf(file, "END\n");
}

static void write_tics(const char *axis, const value_list *list, const char *options, FILE *file)
{
    fprintf(file, "set %stics (", axis);
    for (size_t i = 0; i < list->count; i++)
        fprintf(file, "%s\"%llu\" %zu", i ? ", " : "", (unsigned long long)list->values[i], i);
    fprintf(file, ") scale 0%s\n", options);
}

static void write_style(const struct sweep *sweep, const struct scale *scale, FILE *file)
{
    fprintf(file, "set style fill solid\nset grid\nunset grid\nunset key\nset palette defined (");
    for (size_t i = 0; i < VIRIDIS_COUNT; i++)
        fprintf(file, "%s%zu \"%s\"", i ? ", " : "", i, VIRIDIS[i]);
    fprintf(file, ")\nset cbrange [%g:%g]\nset cblabel \"%s\" noenhanced\n", scale->low,
            scale->high, scale->label);
    fprintf(file, "set xlabel \"%s\" noenhanced\nset ylabel \"%s\" noenhanced\n",
            axis_label(sweep->axes[1]), axis_label(sweep->axes[0]));
    fprintf(file, "set xrange [-0.5:%zu.5]\nset yrange [-0.5:%zu.5]\n", sweep->columns.count - 1,
            sweep->rows.count - 1);
    write_tics("x", &sweep->columns, " rotate by 45 right", file);
    write_tics("y", &sweep->rows, "", file);
}

#define BOX "using 1:2:($1-0.5):($1+0.5):($2-0.5):($2+0.5)"

static void write_panel(const struct sweep *sweep, size_t method, size_t values, size_t impossible,
                        FILE *file)
{
    bool labelled =
        sweep->rows.count <= LABELLED_MAXIMUM && sweep->columns.count <= LABELLED_MAXIMUM;
    fprintf(file, "    set title \"%s\" noenhanced\n    plot ", sweep->methods[method]->name);
    if (values)
        fprintf(file,
                "$values%zu " BOX
                ":3 with boxxyerror fill solid border linecolor rgb \"white\" linecolor palette",
                method);
    if (values && labelled)
        fprintf(file, ", $values%zu using 1:2:4:5 with labels textcolor rgb variable font \",8\"",
                method);
    if (impossible)
        fprintf(file,
                "%s$impossible%zu " BOX
                " with boxxyerror fill pattern 4 border linecolor rgb \"gray60\"",
                values ? ", " : "", method);
    fprintf(file, "%s\n", values || impossible ? "" : "NaN");
}

static void write_script(const struct sweep *sweep, enum sweep_number metric, FILE *file)
{
    size_t values[SWEEP_METHODS_MAXIMUM], impossible[SWEEP_METHODS_MAXIMUM], hatched = 0;
    struct scale scale = fitted_scale(sweep, metric);
    size_t width = PANEL_SPARE_WIDTH + CELL_WIDTH * sweep->columns.count;
    size_t height = PANEL_SPARE_HEIGHT + CELL_HEIGHT * sweep->rows.count;
    width = sweep->method_count * (width > PANEL_MINIMUM ? width : PANEL_MINIMUM);
    height = height > PANEL_MINIMUM * 2 / 3 ? height : PANEL_MINIMUM * 2 / 3;
    fprintf(file,
            "# Heatmaps of a sweep of `reliht %s`: gnuplot heatmap.gnuplot\n"
            "set encoding utf8\n"
            "if (!exists(\"part\")) part = \"\"\n",
            sweep->task->name);
    for (size_t i = 0; i < sweep->method_count; i++) {
        write_data(sweep, i, metric, &scale, &values[i], &impossible[i], file);
        hatched += impossible[i];
    }
    write_style(sweep, &scale, file);
    fprintf(file,
            "do for [kind in \"svg png\"] {\n"
            "    if (kind eq \"svg\") {\n"
            "        set terminal svg size %zu,%zu font \"sans,11\" background rgb \"white\"\n"
            "    } else {\n"
            "        set terminal pngcairo size %zu,%zu font \"sans,11\"\n"
            "    }\n"
            "    set output \"heatmap.\" . kind . part\n",
            width, height, width, height);
    fprintf(file,
            "    set multiplot layout 1,%zu title \"%s, mean over %zu seed%s%s\" noenhanced\n",
            sweep->method_count, sweep->task->name, sweep->seeds.count,
            sweep->seeds.count == 1 ? "" : "s", hatched ? "; hatched: cannot exist" : "");
    for (size_t i = 0; i < sweep->method_count; i++)
        write_panel(sweep, i, values[i], impossible[i], file);
    fprintf(file, "    unset multiplot\n    unset output\n}\n");
}

/* ---------------------------------------------------------------- gnuplot */

/* Whether a file ends as its format does: gnuplot doesn't tell of a full disk. */
static bool is_whole(int file, const char *ending)
{
    char tail[32] = "";
    off_t end = lseek(file, 0, SEEK_END);
    size_t length = strlen(ending);
    return end >= (off_t)sizeof tail - 1 &&
           pread(file, tail, sizeof tail - 1, end - (off_t)sizeof tail + 1) > 0 &&
           memmem(tail, sizeof tail - 1, ending, length) != NULL;
}

/* Puts the figures in place, which gnuplot has written beside them. */
static int place_figures(const struct sweep *sweep)
{
    static const char *const names[][3] = {
        {"heatmap.svg.part", "heatmap.svg", "</svg>"},
        {"heatmap.png.part", "heatmap.png", "IEND"},
    };
    for (size_t i = 0; i < 2; i++) {
        int file = openat(sweep->folder, names[i][0], O_RDONLY | O_CLOEXEC);
        bool kept = file >= 0 && is_whole(file, names[i][2]) && fsync(file) == 0;
        if (file >= 0)
            close(file);
        if (!kept || renameat(sweep->folder, names[i][0], sweep->folder, names[i][1])) {
            unlinkat(sweep->folder, names[i][0], 0);
            return failure("'%s/%s' could not be written in full by gnuplot", sweep->settings->out,
                           names[i][1]);
        }
    }
    return EXIT_DONE;
}

int sweep_plot(const struct sweep *sweep, enum sweep_number metric, bool *plotted)
{
    char *text = NULL, message[256] = "";
    size_t count = 0;
    FILE *script = open_memstream(&text, &count);
    *plotted = false;
    if (!script)
        return failure("out of memory for 'heatmap.gnuplot'");
    write_script(sweep, metric, script);
    bool lost = ferror(script) != 0;
    if (fclose(script))
        lost = true;
    int status = lost ? failure("out of memory for 'heatmap.gnuplot'")
                      : sweep_write_file(sweep, "heatmap.gnuplot", text, count);
    free(text);
    if (status != EXIT_DONE)
        return status;
    static const char draw[] = "part = '.part'\nload 'heatmap.gnuplot'\n";
    int result = gnuplot_run(sweep->folder, draw, sizeof draw - 1, -1, message, sizeof message);
    if (result == 127) {
        fprintf(stderr,
                "reliht: note: no figures without gnuplot; after `apt install gnuplot-nox`, "
                "run `gnuplot heatmap.gnuplot` in '%s' or this sweep again\n",
                sweep->settings->out);
        return EXIT_DONE;
    }
    if (result != 0)
        return failure("gnuplot failed (%s); the numbers are in '%s/results.csv'", message,
                       sweep->settings->out);
    status = place_figures(sweep);
    *plotted = status == EXIT_DONE;
    return status;
}
