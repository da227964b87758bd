/* A fused convolution (no padding, stride 1), ReLU and 2x2 max pooling, and the kernels that its derivatives of any order consist of.

   Compiled for K (side of the kernel), CI and CO (input and output channels) and REAL (the number type). Images are channels-last,
   (n, h, w, channel), so that a row of the kernel is contiguous in a row of an image. Only the largest output of each window is
   kept, if it is above 0: `where` holds its place (0 to 3), or NONE. The derivatives are computed at these outputs alone: at most a
   quarter of all. */

#include <string.h>

#define ROW (K * CI)
#define BLOCKS ((CO + 7) / 8)
#define NONE 4

typedef REAL lanes __attribute__((vector_size(8 * sizeof(REAL)), aligned(4)));

/* w is (ky, kx, ci, co) and bias (co), zero-padded to a multiple of eight output channels. */
void forward(const REAL *restrict x, const lanes *restrict w, const lanes *restrict bias, REAL *restrict y, unsigned char *restrict where,
             long n, long height, long width)
{
    const long row = width * CI, high = (height - K + 1) / 2, wide = (width - K + 1) / 2;
    for (long a = 0; a < n; a++)
        for (long i = 0; i < high; i++)
            for (long j = 0; j < wide; j++) {
                const REAL *at = x + (a * height + 2 * i) * row + 2 * j * CI;
                union { lanes blocks[BLOCKS]; REAL each[8 * BLOCKS]; } z[4], best, place; /* place is REAL so that comparisons vectorize */
                for (int b = 0; b < BLOCKS; b++) z[0].blocks[b] = z[1].blocks[b] = z[2].blocks[b] = z[3].blocks[b] = bias[b];
                for (int ky = 0; ky < K; ky++)
                    for (int e = 0; e < ROW; e++) {
                        const REAL *up = at + ky * row + e, *down = up + row;
                        for (int b = 0; b < BLOCKS; b++) {
                            const lanes v = w[(ky * ROW + e) * BLOCKS + b];
                            z[0].blocks[b] += up[0] * v;
                            z[1].blocks[b] += up[CI] * v;
                            z[2].blocks[b] += down[0] * v;
                            z[3].blocks[b] += down[CI] * v;
                        }
                    }
                for (int c = 0; c < 8 * BLOCKS; c++) {
                    best.each[c] = z[0].each[c], place.each[c] = 0;
                    for (int p = 1; p < 4; p++) {
                        const int above = !(z[p].each[c] <= best.each[c]) & (best.each[c] == best.each[c]); /* NaN propagates */
                        best.each[c] = above ? z[p].each[c] : best.each[c];
                        place.each[c] = above ? p : place.each[c];
                    }
                    place.each[c] = best.each[c] <= 0 ? NONE : place.each[c];
                    best.each[c] = best.each[c] <= 0 ? 0 : best.each[c];
                }
                for (int c = 0; c < CO; c++) *y++ = best.each[c], *where++ = place.each[c];
            }
}

/* A loop over the kept outputs c of all windows; `from` is the offset of the output's patch in the images. */
#define AT_OUTPUTS(g, ...)                                                                          \
    const long row = width * CI, high = (height - K + 1) / 2, wide = (width - K + 1) / 2;           \
    for (long a = 0; a < n; a++)                                                                    \
        for (long i = 0; i < high; i++)                                                             \
            for (long j = 0; j < wide; j++, where += CO, g += CO)                                   \
                for (int c = 0; c < CO; c++) {                                                      \
                    const long place = where[c];                                                    \
                    if (place == NONE) continue;                                                    \
                    const long from = (a * height + 2 * i + place / 2) * row + (2 * j + place % 2) * CI; \
                    __VA_ARGS__                                                                     \
                }

/* From here on, w is laid out as (c, ky, kx, ci). */
void outputs(const REAL *restrict x, const REAL *restrict w, const REAL *restrict bias, REAL *restrict y, const unsigned char *restrict where,
             long n, long height, long width)
{
    memset(y, 0, n * ((height - K + 1) / 2) * ((width - K + 1) / 2) * CO * sizeof(REAL));
    AT_OUTPUTS(y, {
        REAL sums[ROW] = {0}, sum = bias[c];
        for (int ky = 0; ky < K; ky++)
            for (int e = 0; e < ROW; e++) sums[e] += x[from + ky * row + e] * w[(c * K + ky) * ROW + e];
        for (int e = 0; e < ROW; e++) sum += sums[e];
        y[c] = sum;
    })
}

void to_images(REAL *restrict x, const REAL *restrict w, const REAL *restrict bias, const REAL *restrict g, const unsigned char *restrict where,
               long n, long height, long width)
{
    memset(x, 0, n * height * width * CI * sizeof(REAL));
    AT_OUTPUTS(g, {
        for (int ky = 0; ky < K; ky++)
            for (int e = 0; e < ROW; e++) x[from + ky * row + e] += g[c] * w[(c * K + ky) * ROW + e];
    })
}

void to_weights(const REAL *restrict x, REAL *restrict w, REAL *restrict bias, const REAL *restrict g, const unsigned char *restrict where,
                long n, long height, long width)
{
    memset(w, 0, CO * K * ROW * sizeof(REAL));
    memset(bias, 0, CO * sizeof(REAL));
    AT_OUTPUTS(g, {
        bias[c] += g[c];
        for (int ky = 0; ky < K; ky++)
            for (int e = 0; e < ROW; e++) w[(c * K + ky) * ROW + e] += g[c] * x[from + ky * row + e];
    })
}
