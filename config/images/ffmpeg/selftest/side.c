/* side.h says what this is. It holds the changed files of LAME whole, to reach their static functions. */
#include <config.h>
#undef NDEBUG

#include "bitstream.c"
#include "fft.c"
#include "newmdct.c"
#include "psymodel.c"
#include "quantize.c"
#include "vbrquantize.c"
#include "lame_global_flags.h"

#include "side.h"

#ifdef NEW
#define SIDE new_side
#else
#define SIDE old_side
#endif

static lame_internal_flags *
flags(void *encoder)
{
    return ((lame_global_flags *) encoder)->internal_flags;
}

static void *
open_encoder(int rate, int bitrate, int quality)
{
    lame_t  encoder = lame_init();
    lame_set_num_channels(encoder, 2);
    lame_set_in_samplerate(encoder, rate);
    lame_set_out_samplerate(encoder, rate);
    lame_set_quality(encoder, 5);
    if (bitrate) {
        lame_set_brate(encoder, bitrate);
    }
    else {
        lame_set_VBR(encoder, vbr_default);
        lame_set_VBR_quality(encoder, quality);
    }
    if (lame_init_params(encoder) < 0)
        abort();
    return encoder;
}

static void
close_encoder(void *encoder)
{
    lame_close(encoder);
}

static void
begin_bits(void *encoder, int bytes_before, int const *timings, int n)
{
    lame_internal_flags *const gfc = flags(encoder);
    EncStateVar_t *const esv = &gfc->sv_enc;
    int     i;
    assert(n < MAX_HEADER_BUF);
    gfc->cfg.sideinfo_len = 32;
    esv->w_ptr = 0;
    for (i = 0; i < MAX_HEADER_BUF; ++i) {
        esv->header[i].write_timing = i < n ? timings[i] : INT_MAX;
        memset(esv->header[i].buf, 0xa0 + i, sizeof(esv->header[i].buf));
    }
    memset(gfc->bs.buf, 0, BUFFER_SIZE);
    gfc->bs.buf_byte_idx = bytes_before - 1;
    gfc->bs.buf_bit_idx = 0;
    gfc->bs.totbit = 0;
}

static void
put(void *encoder, uint32_t value, int bits)
{
    putbits2(flags(encoder), value, bits);
}

static int
huffman(void *encoder, int table, int const *quantized, float const *xr, int n)
{
    gr_info *const gi = &flags(encoder)->l3_side.tt[0][0];
    memcpy(gi->l3_enc, quantized, n * sizeof(*quantized));
    memcpy(gi->xr, xr, n * sizeof(*xr));
    return Huffmancode(flags(encoder), table, 0, n, gi);
}

static bits_t
bits(void *encoder)
{
    Bit_stream_struc *const bs = &flags(encoder)->bs;
    return (bits_t) { bs->buf, bs->buf_byte_idx + 1, bs->buf_bit_idx, bs->totbit, flags(encoder)->sv_enc.w_ptr };
}

static int
music_crc(void *encoder, int tag)
{
    static unsigned char out[BUFFER_SIZE];
    flags(encoder)->nMusicCRC = 0;
    flags(encoder)->cfg.write_lame_tag = tag;
    copy_buffer(flags(encoder), out, sizeof(out), 1);
    return flags(encoder)->nMusicCRC;
}

static void
transform_long(void *encoder, float const *samples, float *out)
{
    fft_long(flags(encoder), out, 0, &samples);
}

static void
transform_short(void *encoder, float const *samples, float (*out)[BLOCK_SHORT])
{
    fft_short(flags(encoder), out, 0, &samples);
}

static float *
amp_filter(void *encoder)
{
    return flags(encoder)->sv_enc.amp_filter;
}

static void
mdct(void *encoder, float const *left, float const *right, int (*block_types)[2], float (*out)[2][LINES])
{
    lame_internal_flags *const gfc = flags(encoder);
    int     gr, ch;
    for (gr = 0; gr < gfc->cfg.mode_gr; ++gr)
        for (ch = 0; ch < 2; ++ch)
            gfc->l3_side.tt[gr][ch].block_type = block_types[gr][ch];
    mdct_sub48(gfc, left, right);
    for (gr = 0; gr < gfc->cfg.mode_gr; ++gr)
        for (ch = 0; ch < 2; ++ch)
            memcpy(out[gr][ch], gfc->l3_side.tt[gr][ch].xr, sizeof(out[gr][ch]));
}

static void
energy(void *encoder, float const *left, float const *right, float (*out)[ENERGIES], float *total)
{
    lame_internal_flags *const gfc = flags(encoder);
    sample_t const *const buffer[2] = { left, right };
    FLOAT   samples[2][BLKSIZE], e[HBLKSIZE + 3];
    int     chn;
    for (chn = 0; chn < 4; ++chn) {
        vbrpsy_compute_fft_l(gfc, buffer, chn, 0, e, &samples[chn & 1]);
        memcpy(out[chn], e, sizeof(out[chn]));
        total[chn] = gfc->sv_psy.tot_ener[chn];
    }
}

static void
block_types_before(lame_internal_flags * gfc, int const *block_types)
{
    gfc->sv_psy.blocktype_old[0] = block_types[0];
    gfc->sv_psy.blocktype_old[1] = block_types[1];
}

#ifdef NEW

static void
to_lanes(masking_4_t * m, int n, float (*eb)[PARTITIONS], float (*thr)[PARTITIONS])
{
    int     b, chn;
    for (b = 0; b < n; ++b)
        for (chn = 0; chn < 4; ++chn) {
            m->eb[b][chn] = eb[chn][b];
            m->thr[b][chn] = thr[chn][b];
        }
}

static void
from_lanes(masking_4_t const *m, int n, float (*eb)[PARTITIONS], float (*thr)[PARTITIONS])
{
    int     b, chn;
    for (b = 0; b < n; ++b)
        for (chn = 0; chn < 4; ++chn) {
            eb[chn][b] = m->eb[b][chn];
            thr[chn][b] = m->thr[b][chn];
        }
}

static int
masking(void *encoder, int is_short, float lower, int const *block_types, float (*energies)[ENERGIES],
        float (*eb)[PARTITIONS], float (*thr)[PARTITIONS])
{
    lame_internal_flags *const gfc = flags(encoder);
    PsyConst_CB2SB_t const *const gd = is_short ? &gfc->cd_psy->s : &gfc->cd_psy->l;
    FLOAT   padded[4][HBLKSIZE + 3] = { {0} };
    FLOAT const *const four[4] = { padded[0], padded[1], padded[2], padded[3] };
    masking_4_t m;
    int     chn;
    for (chn = 0; chn < 4; ++chn)
        memcpy(padded[chn], energies[chn], (is_short ? HBLKSIZE_s : HBLKSIZE) * sizeof(FLOAT));
    block_types_before(gfc, block_types);
    vbrpsy_compute_masking(gd, four, &m);
    if (is_short)
        memcpy(m.thr, m.ecb, sizeof(m.thr));
    else
        vbrpsy_pre_echo_control_l(gfc, &m);
    vbrpsy_limit_masking(gd, lower, &m);
    from_lanes(&m, gd->npart, eb, thr);
    return gd->npart;
}

static float
mask_add(float m1, float m2, int distance, int delta)
{
    v8f const one = (v8f) { 0 } + 1.0f;
    v8i const deltas = (v8i) { 0 } + delta;
    /* the first half is of this distance; so is the second one where the distance is one more */
    float const first = vbrpsy_mask_add(m1 * one, m2 * one, distance, deltas)[3];
    float const second = vbrpsy_mask_add(m1 * one, m2 * one, distance + 1, deltas)[4];
    assert(first == second);
    return first;
}

#else

static int
masking(void *encoder, int is_short, float lower, int const *block_types, float (*energies)[ENERGIES],
        float (*eb)[PARTITIONS], float (*thr)[PARTITIONS])
{
    lame_internal_flags *const gfc = flags(encoder);
    FLOAT   e[3][HBLKSIZE_s];
    int     chn;
    gfc->sv_qnt.masking_lower = lower;
    block_types_before(gfc, block_types);
    for (chn = 0; chn < 4; ++chn) {
        if (is_short) {
            memcpy(e[0], energies[chn], sizeof(e[0]));
            vbrpsy_compute_masking_s(gfc, (FLOAT const (*)[HBLKSIZE_s]) e, eb[chn], thr[chn], chn, 0);
        }
        else {
            vbrpsy_compute_masking_l(gfc, energies[chn], eb[chn], thr[chn], chn);
        }
    }
    return is_short ? gfc->cd_psy->s.npart : gfc->cd_psy->l.npart;
}

static float
mask_add(float m1, float m2, int distance, int delta)
{
    return vbrpsy_mask_add(m1, m2, distance, delta);
}

#endif

static PsyConst_CB2SB_t *
bands(void *encoder, int which)
{
    PsyConst_t *const cd = flags(encoder)->cd_psy;
    return which == 0 ? &cd->l : which == 1 ? &cd->s : &cd->l_to_s;
}

static float *
band_weights(void *encoder, int which)
{
    return bands(encoder, which)->bo_weight;
}

static void
scalefactor_bands(void *encoder, int which, float const *eb, float const *thr, float *en, float *thm)
{
    PsyConst_CB2SB_t const *const gd = bands(encoder, which);
#ifdef NEW
    v4f     eb4[CBANDS], thr4[CBANDS], en4[SBMAX_l], thm4[SBMAX_l];
    int     i;
    for (i = 0; i < CBANDS; ++i) {
        eb4[i] = (v4f) { eb[i], 0, 0, 0 };
        thr4[i] = (v4f) { thr[i], 0, 0, 0 };
    }
    convert_partition2scalefac(gd, eb4, thr4, en4, thm4);
    for (i = 0; i < gd->n_sb; ++i) {
        en[i] = en4[i][0];
        thm[i] = thm4[i][0];
    }
#else
    convert_partition2scalefac(gd, eb, thr, en, thm);
#endif
}

static void
mid_side(void *encoder, int is_short, float (*eb)[PARTITIONS], float (*thr)[PARTITIONS])
{
    lame_internal_flags *const gfc = flags(encoder);
    PsyConst_CB2SB_t const *const gd = is_short ? &gfc->cd_psy->s : &gfc->cd_psy->l;
    FLOAT const *const ath = is_short ? gfc->ATH->cb_s : gfc->ATH->cb_l;
#ifdef NEW
    masking_4_t m;
    to_lanes(&m, gd->npart, eb, thr);
    vbrpsy_compute_MS_thresholds(&m, gd->mld_cb, ath, 1, gfc->cfg.msfix, gd->npart);
    from_lanes(&m, gd->npart, eb, thr);
#else
    vbrpsy_compute_MS_thresholds((FLOAT const (*)[CBANDS]) eb, thr, gd->mld_cb, ath, 1, gfc->cfg.msfix, gd->npart);
#endif
}

static void
psycho(void *encoder, float const *left, float const *right, int granule, float *thresholds, int *block_types)
{
    lame_internal_flags *const gfc = flags(encoder);
    sample_t const *const buffer[2] = { left, right };
    III_psy_ratio lr[2][2], ms[2][2];
    FLOAT   pe[2], pe_ms[2], energies[4];
    int     chn;
    memset(lr, 0, sizeof(lr));
    memset(ms, 0, sizeof(ms));
    L3psycho_anal_vbr(gfc, buffer, granule, lr, ms, pe, pe_ms, energies, block_types);
    for (chn = 0; chn < 4; ++chn) {
        III_psy_ratio const *const r = chn < 2 ? &lr[granule][chn] : &ms[granule][chn - 2];
        memcpy(thresholds, &r->thm, sizeof(r->thm));
        thresholds += sizeof(r->thm) / sizeof(FLOAT);
        memcpy(thresholds, &r->en, sizeof(r->en));
        thresholds += sizeof(r->en) / sizeof(FLOAT);
    }
}

static void
pow34(void *encoder, float const *xr, int upper, float *out, float *sum, float *max)
{
    gr_info *const gi = &flags(encoder)->l3_side.tt[0][0];
    memcpy(gi->xr, xr, sizeof(gi->xr));
    gi->xrpow_max = 0;
    init_xrpow_core_c(gi, out, upper, sum);
    *max = gi->xrpow_max;
}

static float
max(float const *xr34, int n)
{
    return vec_max_c(xr34, n);
}

static int
lowest(float xr34)
{
    return find_lowest_scalefac(xr34);
}

#ifdef NEW

static int
is_noisy(float const *xr, float const *xr34, float allowed, int n, int sf)
{
    return is_noisy_x34(xr, xr34, allowed, n, sf);
}

static int
tri(float const *xr, float const *xr34, float allowed, int n, int sf, float max_xr34)
{
    noise_t known = { {0}, {0}, 0, 0 };
    measure_band(xr, n, &known);
    return tri_calc_sfb_noise_x34(xr, xr34, allowed, n, sf, max_xr34, &known);
}

static int
find(float const *xr, float const *xr34, float allowed, int n, int sf_min, float max_xr34)
{
    return find_scalefac_x34(xr, xr34, allowed, n, sf_min, max_xr34);
}

#else

static double
noise(float const *xr, float const *xr34, int n, int sf)
{
    return calc_sfb_noise_x34(xr, xr34, n, sf);
}

static int
is_noisy(float const *xr, float const *xr34, float allowed, int n, int sf)
{
    return allowed < calc_sfb_noise_x34(xr, xr34, n, sf);
}

static int
tri(float const *xr, float const *xr34, float allowed, int n, int sf, float max_xr34)
{
    calc_noise_cache_t did_it[256];
    (void) max_xr34;
    memset(did_it, 0, sizeof(did_it));
    return tri_calc_sfb_noise_x34(xr, xr34, allowed, n, sf, did_it);
}

static int
find(float const *xr, float const *xr34, float allowed, int n, int sf_min, float max_xr34)
{
    (void) max_xr34;
    return find_scalefac_x34(xr, xr34, allowed, n, sf_min);
}

#endif

side_t const SIDE = {
    .open = open_encoder, .close = close_encoder,
    .begin_bits = begin_bits, .put = put, .huffman = huffman, .bits = bits, .music_crc = music_crc,
    .fft_long = transform_long, .fft_short = transform_short,
    .amp_filter = amp_filter, .mdct = mdct,
    .energy = energy, .masking = masking, .band_weights = band_weights, .scalefactor_bands = scalefactor_bands,
    .mask_add = mask_add, .mid_side = mid_side, .psycho = psycho,
    .pow34 = pow34,
    .max = max, .lowest = lowest, .is_noisy = is_noisy, .tri = tri, .find = find,
#ifndef NEW
    .noise = noise,
#endif
};
