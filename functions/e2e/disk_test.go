package e2e

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk fills a disk of 40 MB. Videos are refused while there is still room for jobs; when somebody else takes
// the rest as well, deleting jobs frees it.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	needCommand(t, "ffmpeg")
	data := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=40m", "none", data).CombinedOutput(); err != nil {
		t.Skipf("a disk of 40 MB cannot be mounted: %s", out)
	}
	t.Cleanup(func() {
		// Lazily: a process that another test starts just now has our files until its exec.
		if out, err := exec.Command("umount", "--lazy", data).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	s := laptop(t, data, "STORE_MIN_FREE=8388608")
	t.Cleanup(func() { s.signal(syscall.SIGTERM) }) // before the umount, and with it its ffmpeg, which has a video open
	token := login(t, s.url, georgio)
	auth := []string{"-H", "Authorization: Bearer " + token}
	sound := write(t, "a.wav", wave(10<<20))
	send := func() (int, string) {
		return curl(t, append(auth, "-T", sound, s.url+"/upload/a.wav")...)
	}
	var ids []string
	for range 3 {
		ids = append(ids, upload(t, s.url, token, sound))
	}
	status, said := send()
	if status != 507 || !strings.Contains(said, "STORE_MIN_FREE") {
		t.Errorf("PUT of a video for which there is no room = %d %s, want 507", status, said)
	}
	if status, said := curl(t, s.url+"/readyz"); status != 200 {
		t.Errorf("GET /readyz above the floor = %d %s, want 200", status, said)
	}
	for _, id := range ids {
		await(t, s.url, token, id, "notified")
	}
	junk, err := os.Create(filepath.Join(data, "junk"))
	if err != nil {
		t.Fatal(err)
	}
	defer junk.Close()
	if _, err := io.Copy(junk, bytes.NewReader(make([]byte, 40<<20))); err == nil {
		t.Fatal("the disk is larger than it should be")
	}
	if status, said := curl(t, s.url+"/readyz"); status != 503 || !strings.Contains(said, "STORE_MIN_FREE") {
		t.Errorf("GET /readyz of a full disk = %d %s, want 503 and the floor's name", status, said)
	}
	if status, said := curl(t, append(auth, s.url+"/jobs")...); status != 200 {
		t.Errorf("GET /jobs on a full disk = %d %s, want 200", status, said)
	}
	for _, id := range ids {
		if status, said := curl(t, append(auth, "-X", "DELETE", s.url+"/jobs/"+id)...); status != 204 {
			t.Errorf("DELETE on a full disk = %d %s, want 204", status, said)
		}
	}
	await(t, s.url, token, upload(t, s.url, token, sound), "notified")
}

// wave is a WAV file of silence, of about so many bytes.
func wave(n int) []byte {
	var b bytes.Buffer
	for _, v := range []any{
		[]byte("RIFF"), uint32(36 + n), []byte("WAVEfmt "), uint32(16), uint16(1), uint16(1), uint32(44100), uint32(88200),
		uint16(2), uint16(16), []byte("data"), uint32(n), make([]byte, n),
	} {
		_ = binary.Write(&b, binary.LittleEndian, v) // to a buffer it has no error
	}
	return b.Bytes()
}
