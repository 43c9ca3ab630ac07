/*
 * Compares the functions of LAME that our patches change, as they were and as they are. Input is random, and at the
 * edges: silence, denormal and huge numbers, the limits of tables. It prints a line for each function, and fails when
 * one differs by more than its line states. The old side is compiled without -ffast-math: it is what the source says.
 */
#include <float.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lame.h>

#include "side.h"

static int failed;

static int
least(int a, int b)
{
    return a < b ? a : b;
}

/* What one line tells. Numbers differ by no more than bound, in units that each test gives, but for a share of them.
 * Those are decisions, such as which entry of a table holds, that fall otherwise where two sums are all but equal. */
typedef struct {
    char const *what;
    double  bound, share;
    long    n, beyond;
    double  most;               /* of those within the bound */
    double  old, new;           /* the first beyond it */
} test_t;

static void
compare(test_t * t, double old, double new, double unit)
{
    double const d = old == new ? 0 : fabs(old - new) / unit;
    ++t->n;
    if (d <= t->bound)
        t->most = fmax(t->most, d);
    else if (t->beyond++ == 0) { /* or no number */
        t->old = old;
        t->new = new;
    }
}

static void
finish(test_t const *t)
{
    int const good = t->n > 0 && t->beyond <= t->share * t->n;
    failed |= !good;
    printf("%-4s %-44s %8ld", good ? "ok" : "FAIL", t->what, t->n);
    if (t->bound == 0 && t->share == 0)
        printf("  the same, and %ld not\n", t->beyond);
    else
        printf("  within %.1e of %.0e, and %ld not, of %.0f at most\n", t->most, t->bound, t->beyond, t->share * t->n);
    if (t->beyond)
        printf("     the first was %.9g, and is %.9g\n", t->old, t->new);
}

/* xorshift64*, so that all machines have the same input */
static uint64_t
random_bits(void)
{
    static uint64_t x = 20260101;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    return x * 2685821657736338717u;
}

static int
below(int n)
{
    return (random_bits() >> 33) % n;
}

static double
uniform(double from, double to)
{
    return from + (to - from) * (random_bits() >> 11) / 9007199254740992.0;
}

static double
exponential(double from, double to)
{
    return pow(10, uniform(log10(from), log10(to)));
}

enum { SILENCE, DENORMALS, TINY, MIXED, NOISE, HUGE_NOISE, WIDE, CLIPPING, IMPULSE, STEP, TONE, KINDS };

/* n numbers of a kind. Full scale is 32768. */
static void
fill(float *x, int n, int kind)
{
    double const w = uniform(0, 3.1415), phase = uniform(0, 6.2831);
    int const at = below(n);
    int     i;
    for (i = 0; i < n; ++i) {
        double const sign = below(2) ? 1 : -1;
        switch (kind) {
        case SILENCE: x[i] = 0; break;
        case DENORMALS: x[i] = sign * exponential(1e-45, 1e-38); break;
        case TINY: x[i] = sign * exponential(1e-38, 1e-6); break;
        case MIXED: x[i] = sign * (below(4) ? uniform(0, 32768) : exponential(1e-45, 1e-6)); break;
        case NOISE: x[i] = uniform(-32768, 32767); break;
        case HUGE_NOISE: x[i] = uniform(-1e15, 1e15); break;
        case WIDE: x[i] = sign * exponential(1e-6, 1e6); break;
        case CLIPPING: x[i] = sign < 0 ? -32768 : 32767; break;
        case IMPULSE: x[i] = i == at ? 32767 : 0; break;
        case STEP: x[i] = i < at ? 0 : 20000; break;
        case TONE: x[i] = rint(20000 * sin(i * w + phase)); break;
        }
    }
}

static double
norm(float const *x, int n)
{
    double  sum = 0;
    int     i;
    for (i = 0; i < n; ++i)
        sum += (double) x[i] * x[i];
    return sqrt(sum);
}

/* An encoder of either side, which the test in hand is about. */
static void *old, *new;

static void
open_both(int rate, int bitrate, int quality)
{
    if (old) {
        old_side.close(old);
        new_side.close(new);
    }
    old = old_side.open(rate, bitrate, quality);
    new = new_side.open(rate, bitrate, quality);
}

/* bitstream.c */

static void
same_bits(test_t * t)
{
    bits_t const a = old_side.bits(old), b = new_side.bits(new);
    compare(t, a.begun, b.begun, 1);
    compare(t, a.free_bits, b.free_bits, 1);
    compare(t, a.total, b.total, 1);
    compare(t, a.headers, b.headers, 1);
    compare(t, 0, a.begun == b.begun && memcmp(a.bytes, b.bytes, a.begun), 1);
}

static void
begin_both(int bytes_before)
{
    int     timings[100], n = 0, at = below(200) * 8;
    for (n = 0; n < 100; ++n) {
        timings[n] = at;
        at += 32 * 8 + 8 + (below(4) ? below(300) * 8 : 0);
    }
    n = below(2) ? below(100) : 0;
    old_side.begin_bits(old, bytes_before, timings, n);
    new_side.begin_bits(new, bytes_before, timings, n);
}

static void
put_both(int bits)
{
    uint32_t const value = bits ? (below(8) ? (uint32_t) random_bits() : ~0u) >> (32 - bits) : 0;
    old_side.put(old, value, bits);
    new_side.put(new, value, bits);
}

static void
test_put(void)
{
    test_t  t = {.what = "putbits2" }, end = {.what = "putbits2 up to the buffer's end" };
    int     round, i;
    for (round = 0; round < 500; ++round) {
        begin_both(0);
        for (i = below(2000); i > 0; --i)
            put_both(below(26));
        same_bits(&t);
        old_side.begin_bits(old, LAME_MAXMP3BUFFER - 40, NULL, 0);
        new_side.begin_bits(new, LAME_MAXMP3BUFFER - 40, NULL, 0);
        for (i = 40 * 8; i > 0;) {
            int const n = least(i, below(26));
            put_both(n);
            i -= n;
        }
        same_bits(&end);
    }
    finish(&t);
    finish(&end);
}

static void
test_huffman(void)
{
    /* the greatest values of tables 0 to 31; there is no 4 and no 14 */
    static int const greatest[32] = {
        0, 1, 2, 2, 0, 3, 3, 5, 5, 5, 7, 7, 7, 15, 0, 15, 16, 18, 22, 30, 78, 270, 1038, 8206,
        30, 46, 78, 142, 270, 526, 2062, 8206
    };
    test_t  t = {.what = "Huffmancode, each table" }, crc = {.what = "UpdateMusicCRC, with a tag and without" };
    int     round, i, table;
    for (table = 0; table < 32; ++table) {
        for (round = 0; greatest[table] && round < 60; ++round) {
            int     quantized[LINES], kind = below(6);
            float   xr[LINES];
            int const n = 2 * (1 + below(LINES / 2));
            for (i = 0; i < n; ++i) {
                int const max = greatest[table];
                quantized[i] = kind == 0 ? max : kind == 1 ? 0 : kind == 2 ? least(max, 13 + below(4))
                    : kind == 3 ? least(max, below(3)) : below(max + 1);
                xr[i] = below(9) ? uniform(-1, 1) : below(2) ? 0.0f : -0.0f;
            }
            begin_both(0);
            put_both(below(26));
            compare(&t, old_side.huffman(old, table, quantized, xr, n),
                    new_side.huffman(new, table, quantized, xr, n), 1);
            same_bits(&t);
            put_both(old_side.bits(old).free_bits); /* LAME takes whole bytes */
            compare(&crc, old_side.music_crc(old, 1), new_side.music_crc(new, 1), 1);
            put_both(16);
            new_side.music_crc(new, 0);
            old_side.music_crc(old, 0);
            same_bits(&crc);
        }
    }
    finish(&t);
    finish(&crc);
}

/* fft.c: of the norm of what comes out */

static void
test_fft(void)
{
    test_t  l = {.what = "fft_long",.bound = 5e-7 }, s = {.what = "fft_short",.bound = 5e-7 };
    int     round, b, i;
    for (round = 0; round < 40 * KINDS; ++round) {
        float   in[BLOCK_LONG], a[3][BLOCK_LONG], z[3][BLOCK_LONG];
        float   c[3][BLOCK_SHORT], d[3][BLOCK_SHORT];
        double  unit;
        fill(in, BLOCK_LONG, round % KINDS);
        old_side.fft_long(old, in, a[0]);
        new_side.fft_long(new, in, z[0]);
        unit = norm(a[0], BLOCK_LONG) + FLT_MIN;
        for (i = 0; i < BLOCK_LONG; ++i)
            compare(&l, a[0][i], z[0][i], unit);
        old_side.fft_short(old, in, c);
        new_side.fft_short(new, in, d);
        for (b = 0; b < 3; ++b) {
            unit = norm(c[b], BLOCK_SHORT) + FLT_MIN;
            for (i = 0; i < BLOCK_SHORT; ++i)
                compare(&s, c[b][i], d[b][i], unit);
        }
    }
    finish(&l);
    finish(&s);
}

/* lame.c and newmdct.c */

static void
test_mdct(void)
{
    static int const rates[] = { 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000 };
    test_t  f = {.what = "amp_filter",.bound = 1e-5 }, m = {.what = "mdct_sub48",.bound = 1e-6 };
    int     round, i, gr, ch, frame;
    for (round = 0; round < 36; ++round) {
        float  *a, *b;
        open_both(rates[round % 9], round % 4 == 3 ? 64 : 0, round % 4 * 4);
        a = old_side.amp_filter(old);
        b = new_side.amp_filter(new);
        for (i = 0; i < BANDS; ++i)
            compare(&f, a[i] < 1e-12 ? 0 : a[i], b[i], 1);
        for (i = 0; i < BANDS; ++i) {
            a[i] = below(3) ? a[i] : below(2) ? uniform(0, 1) : below(2) ? 0 : 1e-13;
            b[i] = a[i] < 1e-12 ? 0 : a[i];
        }
        for (frame = 0; frame < 11; ++frame) {
            int const granules = rates[round % 9] < 32000 ? 1 : 2;
            int     types[2][2] = { {below(4), below(4)}, {below(4), below(4)} };
            float   in[2][MDCT_SAMPLES], x[2][2][LINES], y[2][2][LINES];
            double  unit;
            /* what is huge would hide the rest, as long as it is in the overlap */
            int const kind = frame >= 9 ? HUGE_NOISE : frame < HUGE_NOISE ? frame : frame + 1;
            fill(in[0], MDCT_SAMPLES, kind);
            fill(in[1], MDCT_SAMPLES, below(3) ? kind : SILENCE);
            old_side.mdct(old, in[0], in[1], types, x);
            new_side.mdct(new, in[0], in[1], types, y);
            for (gr = 0; gr < granules; ++gr)
                for (ch = 0; ch < 2; ++ch) {
                    unit = norm(x[gr][ch], LINES) + norm(in[ch], MDCT_SAMPLES) + FLT_MIN;
                    for (i = 0; i < LINES; ++i)
                        compare(&m, x[gr][ch][i], y[gr][ch][i], unit);
                }
        }
    }
    finish(&f);
    finish(&m);
}

/* psymodel.c */

static void
test_energy(void)
{
    test_t  t = {.what = "vbrpsy_compute_fft_l, its amplitudes",.bound = 1e-6 };
    test_t  sum = {.what = "vbrpsy_compute_fft_l, its sum",.bound = 1e-5 };
    int     round, chn, i;
    for (round = 0; round < 20 * KINDS; ++round) {
        float   in[2][BLOCK_LONG], a[4][ENERGIES], b[4][ENERGIES], x[4], y[4];
        double  unit = 0;
        fill(in[0], BLOCK_LONG, round % KINDS);
        fill(in[1], BLOCK_LONG, below(2) ? round % KINDS : SILENCE);
        old_side.energy(old, in[0], in[1], a, x);
        new_side.energy(new, in[0], in[1], b, y);
        for (chn = 0; chn < 4; ++chn)
            for (i = 0; i < ENERGIES; ++i)
                unit += a[chn][i];
        for (chn = 0; chn < 4; ++chn) {
            compare(&sum, x[chn], y[chn], unit + FLT_MIN);
            for (i = 0; i < ENERGIES; ++i)
                compare(&t, sqrt(a[chn][i]), sqrt(b[chn][i]), sqrt(unit) + sqrt(FLT_MIN));
        }
    }
    finish(&t);
    finish(&sum);
}

static void
test_mask_add(void)
{
    test_t  t = {.what = "vbrpsy_mask_add",.bound = 1e-6,.share = 1e-5 };
    int     i;
    for (i = 0; i < 300000; ++i) {
        float const m1 = below(20) ? exponential(1e-10, 1e18) : 0;
        float const ratio = below(2) ? exponential(.1, 10) : exponential(1e-9, 1e9);
        float const m2 = below(20) ? (m1 ? m1 : 1) * ratio : below(2) ? m1 : 0;
        int const b = below(11) - 5, delta = below(4) - 1;
        float const a = old_side.mask_add(m1, m2, b, delta);
        compare(&t, a, new_side.mask_add(m1, m2, b, delta), a);
    }
    finish(&t);
}

/* A spectrum that falls, with some lines above it; of a kind that may be silent. */
static void
fill_energies(float *e, int kind)
{
    double const level = kind == SILENCE ? 0 : kind == TINY ? 1e-12 : kind == DENORMALS ? 1e-40
        : kind == HUGE_NOISE ? 1e25 : exponential(1e-3, 1e12);
    double const slope = exponential(1e-2, 1), tonality = uniform(0, .2);
    int     i;
    for (i = 0; i < ENERGIES; ++i) {
        double const u = uniform(1e-9, 1);
        e[i] = level * pow(slope, i / 64.) * -log(u) * (uniform(0, 1) < tonality ? 1e4 : 1);
    }
}

static void
test_masking(void)
{
    static int const rates[] = { 8000, 16000, 22050, 32000, 44100, 48000 };
    test_t  energy = {.what = "vbrpsy_compute_masking, energies",.bound = 1e-6 };
    test_t  lng = {.what = "vbrpsy_compute_masking, long blocks",.bound = 1e-5,.share = 2e-3 };
    test_t  shrt = {.what = "vbrpsy_compute_masking, short blocks",.bound = 1e-5,.share = 1e-3 };
    test_t  bands = {.what = "convert_partition2scalefac",.bound = 1e-6 };
    test_t  ms = {.what = "vbrpsy_compute_MS_thresholds",.bound = 1e-5,.share = 1e-4 };
    int     round, frame, chn, i, n;
    for (round = 0; round < 24; ++round) {
        open_both(rates[round % 6], 0, round % 4 * 3);
        for (i = 0; i < 3; ++i) /* -ffast-math has the tables, too, a little otherwise */
            memcpy(new_side.band_weights(new, i), old_side.band_weights(old, i), SCALEFACTORS * sizeof(float));
        for (frame = 0; frame < 24; ++frame) {
            int const is_short = round / 6 % 2, which = below(3);
            int     types[2] = { below(4), below(4) };
            float const lower = below(3) ? exponential(.1, 10) : 1;
            float   e[4][ENERGIES], eb[2][4][PARTITIONS] = { 0 }, thr[2][4][PARTITIONS] = { 0 };
            float   en[2][SCALEFACTORS] = { 0 }, thm[2][SCALEFACTORS] = { 0 };
            for (chn = 0; chn < 4; ++chn)
                fill_energies(e[chn], below(KINDS));
            n = old_side.masking(old, is_short, lower, types, e, eb[0], thr[0]);
            compare(&energy, n, new_side.masking(new, is_short, lower, types, e, eb[1], thr[1]), 1);
            for (chn = 0; chn < 4; ++chn)
                for (i = 0; i < n; ++i) {
                    compare(&energy, eb[0][chn][i], eb[1][chn][i], eb[0][chn][i]);
                    compare(is_short ? &shrt : &lng, thr[0][chn][i], thr[1][chn][i], thr[0][chn][i] + 1e-32);
                }
            for (chn = 0; chn < 4; ++chn) {
                old_side.scalefactor_bands(old, which, eb[0][chn], thr[0][chn], en[0], thm[0]);
                new_side.scalefactor_bands(new, which, eb[0][chn], thr[0][chn], en[1], thm[1]);
                for (i = 0; i < SCALEFACTORS; ++i) {
                    compare(&bands, en[0][i], en[1][i], en[0][i] + 1e-32);
                    compare(&bands, thm[0][i], thm[1][i], thm[0][i] + 1e-32);
                }
            }
            memcpy(eb[1], eb[0], sizeof(eb[0]));
            memcpy(thr[1], thr[0], sizeof(thr[0]));
            if (below(2))       /* masking of left and right that are alike */
                for (i = 0; i < n; ++i)
                    thr[0][1][i] = thr[1][1][i] = thr[0][0][i] * exponential(.5, 2);
            old_side.mid_side(old, is_short, eb[0], thr[0]);
            new_side.mid_side(new, is_short, eb[1], thr[1]);
            for (chn = 0; chn < 4; ++chn)
                for (i = 0; i < n; ++i)
                    compare(&ms, thr[0][chn][i], thr[1][chn][i], thr[0][chn][i]);
        }
    }
    finish(&energy);
    finish(&lng);
    finish(&shrt);
    finish(&bands);
    finish(&ms);
}

/* The whole of the model, over sounds that go from one kind to another. */
static void
test_psycho(void)
{
    enum { THRESHOLDS = 4 * 2 * (SCALEFACTORS + 3 * 13), FRAMES = 40 };
    static float in[2][FRAMES * LINES + 2 * BLOCK_LONG];
    test_t  t = {.what = "L3psycho_anal_vbr",.bound = 1e-3,.share = 2e-3 };
    test_t  types = {.what = "L3psycho_anal_vbr, block types",.share = 1e-3 };
    int     round, frame, i;
    for (round = 0; round < 12; ++round) {
        open_both(round % 3 ? 44100 : 22050, 0, round % 4 * 2);
        for (i = 0; i + 2000 < (int) (sizeof(in[0]) / sizeof(in[0][0])); i += 2000) {
            int const kind = below(KINDS);
            fill(in[0] + i, 2000, kind == HUGE_NOISE ? NOISE : kind);
            memcpy(in[1] + i, in[0] + i, 2000 * sizeof(float));
            if (below(2))
                fill(in[1] + i, 2000, below(2) ? TONE : SILENCE);
        }
        for (frame = 0; frame < FRAMES; ++frame) {
            float   a[THRESHOLDS], b[THRESHOLDS];
            static double loudest;
            int     x[2], y[2];
            old_side.psycho(old, in[0] + frame * LINES, in[1] + frame * LINES, 0, a, x);
            new_side.psycho(new, in[0] + frame * LINES, in[1] + frame * LINES, 0, b, y);
            compare(&types, x[0], y[0], 1);
            compare(&types, x[1], y[1], 1);
            /* what is that much below the loudest of late is the transform's own noise */
            for (loudest /= 10, i = 0; i < THRESHOLDS; ++i)
                loudest = fmax(loudest, a[i]);
            for (i = 0; i < THRESHOLDS; ++i)
                compare(&t, sqrt(a[i]), sqrt(b[i]), sqrt(a[i]) + 1e-3 * sqrt(loudest) + 1e-20);
        }
    }
    finish(&types);
    finish(&t);
}

/* quantize.c */

static void
test_pow34(void)
{
    test_t  t = {.what = "init_xrpow_core_c",.bound = 5e-7 };
    test_t  sum = {.what = "init_xrpow_core_c, sum and greatest",.bound = 1e-5 };
    int     round, i;
    for (round = 0; round < 40 * KINDS; ++round) {
        int const upper = below(4) ? below(LINES) : LINES - 1;
        float   xr[LINES], a[LINES] = { 0 }, b[LINES] = { 0 }, x[2], y[2];
        fill(xr, LINES, round % KINDS);
        old_side.pow34(old, xr, upper, a, &x[0], &x[1]);
        new_side.pow34(new, xr, upper, b, &y[0], &y[1]);
        for (i = 0; i < LINES; ++i) /* what any step quantizes to zero may be zero at once */
            compare(&t, fabsf(xr[i]) < 1e-17f ? 0 : a[i], b[i], a[i]);
        compare(&sum, x[0], y[0], x[0] + FLT_MIN);
        compare(&sum, x[1] < 2e-13 ? 0 : x[1], y[1], x[1]);
    }
    finish(&t);
    finish(&sum);
}

/* vbrquantize.c */

static void
test_lowest(void)
{
    test_t  t = {.what = "find_lowest_scalefac" }, m = {.what = "vec_max_c" };
    float   x, xr34[200];
    int     i, k;
    compare(&t, old_side.lowest(0), new_side.lowest(0), 1);
    compare(&t, old_side.lowest(FLT_MAX), new_side.lowest(FLT_MAX), 1);
    for (i = 0; i < 256; ++i) {
        /* where one more step is needed */
        x = 8206 * pow(2, (i - 210) * .1875);
        for (k = 0; k < 20; ++k)
            x = nextafterf(x, 0);
        for (k = 0; k < 40; ++k, x = nextafterf(x, FLT_MAX))
            compare(&t, old_side.lowest(x), new_side.lowest(x), 1);
    }
    for (i = 0; i < 300000; ++i) {
        x = below(2) ? exponential(1e-45, 3e38) : exponential(1e-8, 1e12);
        compare(&t, old_side.lowest(x), new_side.lowest(x), 1);
    }
    for (i = 0; i < 3000; ++i) {
        int const n = below(200);
        fill(xr34, 200, below(KINDS));
        for (k = 0; k < 200; ++k)
            xr34[k] = fabsf(xr34[k]);
        compare(&m, old_side.max(xr34, n), new_side.max(xr34, n), 1);
    }
    finish(&t);
    finish(&m);
}

/* How far apart the roots of two noises may be: the new side rounds to floats what the old one has in doubles. */
static double
tolerance(float const *xr, float allowed, int n)
{
    return 1e-5 * sqrt(allowed) + 2e-7 * norm(xr, n);
}

static int
is_close(float const *xr, float const *xr34, float allowed, int n, int sf)
{
    double const noise = sf > 255 ? 0 : old_side.noise(xr, xr34, n, sf);
    return fabs(sqrt(noise) - sqrt(allowed)) <= tolerance(xr, allowed, n);
}

static void
test_noise(void)
{
    test_t  t = {.what = "is_noisy_x34, where it is not close" };
    test_t  three = {.what = "tri_calc_sfb_noise_x34, likewise" };
    test_t  f = {.what = "find_scalefac_x34, likewise",.share = 1e-4 };
    int     round, i;
    for (round = 0; round < 200000; ++round) {
        int const n = below(4) ? 1 + below(60) : 1 + below(200), kind = below(KINDS);
        float   xr[LINES], xr34[LINES], sum, greatest, allowed;
        int     a, b, sf, sf_min;
        if (kind == HUGE_NOISE || !below(2)) {
            double const level = exponential(1e-3, 1e8);
            for (i = 0; i < n; ++i)
                xr[i] = uniform(-level, level);
        }
        else {
            fill(xr, n, kind);
        }
        memset(xr + n, 0, (LINES - n) * sizeof(float));
        old_side.pow34(old, xr, n - 1, xr34, &sum, &greatest);
        sf_min = old_side.lowest(greatest);
        if (sf_min >= 255)      /* nothing is tried */
            continue;
        sf = sf_min + 1 + below(below(2) ? least(255 - sf_min, 60) : 255 - sf_min);
        allowed = exponential(1e-12, 1e12);
        if (below(2))
            allowed = old_side.noise(xr, xr34, n, sf) * (below(2) ? exponential(.5, 2) : 1 + uniform(-1e-4, 1e-4));
        allowed = fmaxf(allowed, DBL_EPSILON); /* as calc_xmin has it */
        a = old_side.is_noisy(xr, xr34, allowed, n, sf);
        b = new_side.is_noisy(xr, xr34, allowed, n, sf);
        compare(&t, a, is_close(xr, xr34, allowed, n, sf) ? a : b, 1);
        a = old_side.tri(xr, xr34, allowed, n, sf, greatest);
        b = new_side.tri(xr, xr34, allowed, n, sf, greatest);
        for (i = sf - 1; a != b && i <= sf + 1; ++i)
            if (is_close(xr, xr34, allowed, n, i))
                b = a;
        compare(&three, a, b, 1);
        if (round % 4 == 0) {
            double const root = sqrt(allowed), more = tolerance(xr, allowed, n);
            a = old_side.find(xr, xr34, allowed, n, sf_min, greatest);
            b = new_side.find(xr, xr34, allowed, n, sf_min, greatest);
            if (b == old_side.find(xr, xr34, pow(root + more, 2), n, sf_min, greatest)
                || b == old_side.find(xr, xr34, pow(fmax(root - more, 0), 2), n, sf_min, greatest))
                b = a;
            compare(&f, a, b, 1);
        }
    }
    finish(&t);
    finish(&three);
    finish(&f);
}

/* The step below zero must never be asked for. */
static void
test_assertion(void)
{
    test_t  t = {.what = "tri_calc_sfb_noise_x34 asserts sf > 0" };
    float const xr[4] = { 1, 1, 1, 1 };
    pid_t const child = fork();
    int     status = 0;
    if (child == 0) {
        struct rlimit const none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        close(STDERR_FILENO);
        new_side.tri(xr, xr, 1e-6, 4, 0, 1);
        _exit(0);
    }
    waitpid(child, &status, 0);
    compare(&t, SIGABRT, WIFSIGNALED(status) ? WTERMSIG(status) : 0, 1);
    finish(&t);
}

int
main(void)
{
#ifdef LEVEL_v3
    if (!__builtin_cpu_supports("x86-64-v3")) {
        puts("not run: this processor is not of the level x86-64-v3");
        return 0;
    }
#endif
    open_both(44100, 0, 2);
    test_put();
    test_huffman();
    test_fft();
    test_energy();
    test_mask_add();
    test_pow34();
    test_lowest();
    test_noise();
    test_assertion();
    test_mdct();
    test_masking();
    test_psycho();
    old_side.close(old);
    new_side.close(new);
    return failed;
}
