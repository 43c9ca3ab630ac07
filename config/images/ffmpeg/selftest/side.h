/*
 * One side of the self-test: LAME's functions as Debian has them, or as our patches have them. Both sides are made of
 * side.c, each with its own LAME, and offer the same functions on plain arrays. An encoder is a lame_t of that LAME.
 */
#ifndef SIDE_H
#define SIDE_H

#include <stdint.h>

enum {
    LINES = 576, BANDS = 32, PARTITIONS = 64, SCALEFACTORS = 22,
    BLOCK_LONG = 1024, BLOCK_SHORT = 256, ENERGIES = 513,
    MDCT_SAMPLES = 2048 /* what mdct_sub48 reads of each channel, and more */
};

/* What becomes of bits: the bytes, how many of them are begun, and how many bits of the last one are free. */
typedef struct {
    uint8_t *bytes;
    int     begun, free_bits, total, headers;
} bits_t;

typedef struct {
    /* An encoder of two channels, in joint stereo. A bitrate of 0 is variable, of the given quality. */
    void *(*open) (int rate, int bitrate, int quality);
    void (*close) (void *encoder);

    /* bitstream.c. Headers of 32 bytes, all of the value 0xa0 + n, stand where the nth timing says, in bits. */
    void (*begin_bits) (void *encoder, int bytes_before, int const *timings, int n);
    void (*put) (void *encoder, uint32_t value, int bits);
    int  (*huffman) (void *encoder, int table, int const *quantized, float const *xr, int n);
    bits_t (*bits) (void *encoder);
    int  (*music_crc) (void *encoder, int tag); /* takes all bits out of the encoder */

    /* fft.c */
    void (*fft_long) (void *encoder, float const *samples, float *out);
    void (*fft_short) (void *encoder, float const *samples, float (*out)[BLOCK_SHORT]);

    /* lame.c and newmdct.c */
    float *(*amp_filter) (void *encoder);
    void (*mdct) (void *encoder, float const *left, float const *right, int (*block_types)[2],
                  float (*out)[2][LINES]);

    /* psymodel.c. masking returns the number of partitions; energies, eb and thr are of left, right, mid and side. */
    void (*energy) (void *encoder, float const *left, float const *right, float (*out)[ENERGIES], float *total);
    int  (*masking) (void *encoder, int is_short, float lower, int const *block_types, float (*energies)[ENERGIES],
                     float (*eb)[PARTITIONS], float (*thr)[PARTITIONS]);
    float *(*band_weights) (void *encoder, int which); /* of long blocks, of short ones, of short ones made of long */
    void (*scalefactor_bands) (void *encoder, int which, float const *eb, float const *thr, float *en, float *thm);
    float (*mask_add) (float m1, float m2, int distance, int delta);
    void (*mid_side) (void *encoder, int is_short, float (*eb)[PARTITIONS], float (*thr)[PARTITIONS]);
    void (*psycho) (void *encoder, float const *left, float const *right, int granule, float *thresholds,
                    int *block_types);

    /* quantize.c */
    void (*pow34) (void *encoder, float const *xr, int upper, float *out, float *sum, float *max);

    /* vbrquantize.c. noise is there on the old side only; is_noisy and tri tell whether there is more than allowed. */
    float (*max) (float const *xr34, int n);
    int  (*lowest) (float xr34);
    double (*noise) (float const *xr, float const *xr34, int n, int sf);
    int  (*is_noisy) (float const *xr, float const *xr34, float allowed, int n, int sf);
    int  (*tri) (float const *xr, float const *xr34, float allowed, int n, int sf, float max);
    int  (*find) (float const *xr, float const *xr34, float allowed, int n, int sf_min, float max);
} side_t;

extern side_t const old_side, new_side;

#endif
