package e2e

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestWalk goes from the old system to ours and back, in the steps of config/legacy and with its files. In each step
// videos are uploaded all the time, by the one address that users know: each has one MP3 and one mail.
func TestWalk(t *testing.T) {
	t.Parallel()
	if os.Getenv("TEST_MIXTURES") == "" {
		t.Skip("TEST_MIXTURES is not set")
	}
	const videos = 20
	clip := video(t, "clip.mp4", 2)
	m := &mixture{}
	m.begin(t)
	var name front // what leads to the gateway
	s := httptest.NewServer(&name)
	t.Cleanup(s.Close)
	m.url = s.URL
	oldGateway := func(auth string) *process {
		return m.old("gateway", map[string]string{"AUTH_SVC_ADDRESS": strings.TrimPrefix(auth, "http://")})
	}
	oldAuth := m.newAuth("old")
	before := oldGateway(oldAuth)
	name.set(t, before)
	notification, converter := m.old("notification", m.smtp), m.old("converter", nil)
	token := login(t, m.url, georgio)

	var beside, notify *process
	var login1, converters string
	// swap has the broker read another file, as a rollout does: the new one is there before the old one goes.
	swap := func(file string) {
		former := m.broker
		m.newBroker(guideTriggers(t, file, converters, notify.url))
		if former != nil {
			former.signal(syscall.SIGTERM)
		}
	}
	step := func(what string, change func()) {
		t.Log(what)
		m.convert(token, clip, videos, change)
	}
	step("auth is ours", func() {
		login1 = m.newAuth("new")
		beside = oldGateway(login1)
		name.set(t, beside)
	})
	step("notify is ours", func() {
		notify = m.newNotify()
		swap("legacy/notify.yaml")
		notification.signal(syscall.SIGTERM)
	})
	step("convert is ours", func() {
		converters = m.newConvert()
		swap("legacy/convert.yaml")
		converter.signal(syscall.SIGTERM)
	})
	step("all is ours", func() {
		swap("200-triggers.yaml")
		gateway := m.newGateway(login1)
		name.set(t, &process{url: gateway})
	})
	token = login(t, m.url, georgio) // a token of ours, for the way back; the old one was good until here
	step("the gateway is the old one", func() {
		swap("legacy/convert.yaml")
		name.set(t, beside)
	})
	step("the converter is the old one", func() {
		m.old("converter", nil)
		swap("legacy/notify.yaml")
		m.converting.signal(syscall.SIGTERM)
	})
	step("the notification is the old one", func() {
		m.old("notification", m.smtp)
		m.broker.signal(syscall.SIGTERM)
		m.broker = nil
		notify.signal(syscall.SIGTERM)
	})
	step("auth is the old one", func() { name.set(t, before) })
}

// guideTriggers writes a file of triggers of config with the subscribers' addresses of this test.
func guideTriggers(t *testing.T, file, convert, notify string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../config", file))
	if err != nil {
		t.Fatal(err)
	}
	var c struct{ Data map[string]string } // a ConfigMap
	if err := yaml.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	if of := c.Data["triggers.yaml"]; of != "" {
		text = []byte(of)
	}
	return write(t, "triggers.yaml", []byte(strings.NewReplacer(
		"http://convert.soundstrip.svc.cluster.local", convert,
		"http://notify.soundstrip.svc.cluster.local", notify).Replace(string(text))))
}
