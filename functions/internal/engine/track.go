package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// track is one track of sound of a file.
type track struct {
	index    int    // in the file: ffmpeg's of the stream, or the number of the track of an MP4
	codec    string // by ffmpeg's name, or the four characters of an MP4
	language string
	title    string
	dead     bool // it cannot be decoded, or has no samples
	standard bool // players take it by default
	aside    bool // a commentary, or for those who see or hear little
}

// choose gives the tracks in the order in which they are tried: first the default one among those that can be heard,
// then the others, those aside last. A track that was asked for, by its number from 1 or its language, is the only one.
// One that is not there fails with a list of those that are.
func choose(tracks []track, wanted string) ([]track, error) {
	if len(tracks) == 0 {
		return nil, noAudio()
	}
	number, _ := strconv.Atoi(wanted)
	var chosen []track
	for i, t := range tracks {
		if wanted == "" || i+1 == number || sameLanguage(wanted, t.language) {
			chosen = append(chosen, t)
		}
	}
	if len(chosen) == 0 {
		var list []string
		for i, t := range tracks {
			list = append(list, strconv.Itoa(i+1)+t.name())
		}
		return nil, permanent(nil, NoTrack, "the video has no track of sound %q: it has %s", wanted, strings.Join(list, ", "))
	}
	slices.SortStableFunc(chosen, func(a, b track) int { return cmp.Compare(a.rank(), b.rank()) })
	if wanted != "" {
		chosen = chosen[:1]
	}
	return chosen, nil
}

// rank is lower for what is rather to be heard.
func (t track) rank() (n int) {
	for _, worse := range []bool{t.dead, t.aside, !t.standard} {
		if n *= 2; worse {
			n++
		}
	}
	return n
}

// name tells a person what the track is, in brackets.
func (t track) name() string {
	var about []string
	for _, s := range []string{plainLanguage(t.language), strings.ToValidUTF8(t.title, ""), t.codec} {
		if s != "" {
			about = append(about, s[:min(len(s), 40)])
		}
	}
	if len(about) == 0 {
		return ""
	}
	return fmt.Sprintf(" (%s)", strings.ToValidUTF8(strings.Join(about, ", "), ""))
}

// sameLanguage compares a language that was asked for with that of a track: its region counts when both have one.
func sameLanguage(wanted, has string) bool {
	base, region, _ := strings.Cut(strings.ToLower(wanted), "-")
	ofTrack, regionOfTrack, _ := strings.Cut(strings.ToLower(has), "-")
	return ofTrack != "" && plainLanguage(base) == plainLanguage(ofTrack) &&
		(region == "" || regionOfTrack == "" || region == regionOfTrack)
}

// plainLanguage gives the two letters of ISO 639-1 for the three of ISO 639-2, where there are any.
func plainLanguage(code string) string {
	base, region, _ := strings.Cut(code, "-")
	if base == "und" || base == "mul" || base == "zxx" {
		return ""
	}
	if at := strings.Index(languages, " "+strings.ToLower(base)); len(base) == 3 && at >= 0 {
		entry := languages[:at]
		base = strings.Fields(entry[strings.LastIndexByte(entry, ';')+1:])[0]
	}
	if region != "" {
		return base + "-" + region
	}
	return base
}

// languages are those of ISO 639-1, each with its codes of ISO 639-2.
const languages = ";aa aar;ab abk;ae ave;af afr;ak aka;am amh;an arg;ar ara;as asm;av ava;ay aym;az aze;ba bak;" +
	"be bel;bg bul;bh bih;bi bis;bm bam;bn ben;bo bod tib;br bre;bs bos;ca cat;ce che;ch cha;co cos;cr cre;cs ces cze;" +
	"cu chu;cv chv;cy cym wel;da dan;de deu ger;dv div;dz dzo;ee ewe;el ell gre;en eng;eo epo;es spa;et est;eu eus baq;" +
	"fa fas per;ff ful;fi fin;fj fij;fo fao;fr fra fre;fy fry;ga gle;gd gla;gl glg;gn grn;gu guj;gv glv;ha hau;he heb;" +
	"hi hin;ho hmo;hr hrv;ht hat;hu hun;hy hye arm;hz her;ia ina;id ind;ie ile;ig ibo;ii iii;ik ipk;io ido;is isl ice;" +
	"it ita;iu iku;ja jpn;jv jav;ka kat geo;kg kon;ki kik;kj kua;kk kaz;kl kal;km khm;kn kan;ko kor;kr kau;ks kas;" +
	"ku kur;kv kom;kw cor;ky kir;la lat;lb ltz;lg lug;li lim;ln lin;lo lao;lt lit;lu lub;lv lav;mg mlg;mh mah;" +
	"mi mri mao;mk mkd mac;ml mal;mn mon;mr mar;ms msa may;mt mlt;my mya bur;na nau;nb nob;nd nde;ne nep;ng ndo;" +
	"nl nld dut;nn nno;no nor;nr nbl;nv nav;ny nya;oc oci;oj oji;om orm;or ori;os oss;pa pan;pi pli;pl pol;ps pus;" +
	"pt por;qu que;rm roh;rn run;ro ron rum;ru rus;rw kin;sa san;sc srd;sd snd;se sme;sg sag;si sin;sk slk slo;sl slv;" +
	"sm smo;sn sna;so som;sq sqi alb;sr srp;ss ssw;st sot;su sun;sv swe;sw swa;ta tam;te tel;tg tgk;th tha;ti tir;" +
	"tk tuk;tl tgl;tn tsn;to ton;tr tur;ts tso;tt tat;tw twi;ty tah;ug uig;uk ukr;ur urd;uz uzb;ve ven;vi vie;vo vol;" +
	"wa wln;wo wol;xh xho;yi yid;yo yor;za zha;zh zho chi;zu zul;"
