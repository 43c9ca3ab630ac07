package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/broker"
	"github.com/soundstrip/soundstrip/eventing/serve"
)

func triggersFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "triggers.yaml")
	text := "triggers: [{name: convert, subscriber: 'http://127.0.0.1:1', filter: {attributes: {type: a.x}}}]"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestWithoutRabbit starts the real program where no RabbitMQ is: it serves, refuses events so that they are sent
// again, and ends when it is told to.
func TestWithoutRabbit(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "broker")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build = %v\n%s", err, out)
	}
	secret := strings.Repeat("s", eventing.MinSecret)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = []string{"HOST=127.0.0.1", "PORT=0", "AMQP_URL=amqp://127.0.0.1:1", "BROKER_TRIGGERS=" + triggersFile(t),
		"EVENT_SECRET=" + secret}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start = %v", err)
	}
	lines := bufio.NewScanner(stderr)
	var line struct{ Msg, Address string }
	for line.Msg != "listening" && lines.Scan() {
		_ = json.Unmarshal(lines.Bytes(), &line)
	}
	if line.Address == "" {
		t.Fatalf("the broker ended without listening: %v", cmd.Wait())
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, stderr)
	}()

	e := event.New()
	e.SetID("1")
	e.SetType("a.x")
	e.SetSource("/test")
	for _, tt := range []struct {
		name, method, path, secret string
		want                       int
	}{
		{"alive", "GET", "/healthz", "", http.StatusOK},
		{"not ready", "GET", "/readyz", "", http.StatusServiceUnavailable},
		{"event of a stranger", "POST", "/", "", http.StatusUnauthorized},
		{"event", "POST", "/", secret, http.StatusServiceUnavailable},
	} {
		r, err := eventing.NewRequest(ctx, "http://"+line.Address+tt.path, e)
		if err != nil {
			t.Fatalf("NewRequest() = %v", err)
		}
		r.Method = tt.method
		if err := eventing.Authorize(r, []byte(tt.secret), "broker"); err != nil {
			t.Fatalf("Authorize() = %v", err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.want ||
			(tt.want == http.StatusServiceUnavailable) != (resp.Header.Get("Retry-After") != "") {
			t.Errorf("%s: %s %s = %d, Retry-After %q, want %d", tt.name, tt.method, tt.path, resp.StatusCode,
				resp.Header.Get("Retry-After"), tt.want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("SIGTERM = %v", err)
	}
	<-drained
	if err := cmd.Wait(); err != nil {
		t.Errorf("the broker ended with %v, want nil", err)
	}
}

func TestReplay(t *testing.T) {
	t.Parallel()
	u := os.Getenv("TEST_AMQP_URL")
	if u == "" && os.Getenv("CI") != "" {
		t.Fatal("TEST_AMQP_URL is not set")
	}
	if u == "" {
		t.Skip(`start the servers with .ci/servers start, then eval "$(.ci/servers env)"`)
	}
	prefix := "test-" + rand.Text()
	env := envconfig.MapLookuper(map[string]string{"AMQP_URL": u, "AMQP_PREFIX": prefix,
		"BROKER_TRIGGERS": triggersFile(t)})
	conn, err := amqp.Dial(u)
	if err != nil {
		t.Fatalf("Dial() = %v", err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatalf("Channel() = %v", err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatalf("Confirm() = %v", err)
	}
	defer func() {
		for _, queue := range []string{".convert", ".convert.dead", ".broker.triggers"} {
			_, _ = ch.QueueDelete(prefix+queue, false, false, false)
		}
		for _, d := range strings.Fields("1s 2s 5s 10s 30s 1m 2m 5m 10m 30m") {
			_, _ = ch.QueueDelete(prefix+".retry."+d, false, false, false)
			_ = ch.ExchangeDelete(prefix+".retry."+d, false, false)
		}
	}()
	if err := command([]string{"replay", "--trigger", "convert"}, io.Discard)(t.Context(), env); err == nil {
		t.Error("broker replay where no broker has been = nil, want an error: it makes no queues")
	}
	startBroker(t, env)
	for _, want := range []string{"0 moved", "2 moved"} {
		var out bytes.Buffer
		if err := command([]string{"replay", "--trigger", "convert"}, &out)(t.Context(), env); err != nil ||
			!strings.Contains(out.String(), want) {
			t.Fatalf("broker replay = %q, %v, want %q", &out, err, want)
		}
		for _, body := range []string{"one", "two"} {
			c, err := ch.PublishWithDeferredConfirm("", prefix+".convert.dead", true, false,
				amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body),
					Headers: amqp.Table{"x-soundstrip-reason": "no " + body}})
			if err != nil || !c.Wait() {
				t.Fatalf("publish a dead letter: %v", err)
			}
		}
	}
	dead := func(want int, args ...string) []string {
		t.Helper()
		var out bytes.Buffer
		if err := command(append([]string{"dead"}, args...), &out)(t.Context(), env); err != nil {
			t.Fatalf("broker dead %q = %v", args, err)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, strconv.Itoa(want)+" ") {
			t.Fatalf("broker dead %q = %q, want %d", args, lines, want)
		}
		return lines
	}
	lines := dead(2, "list")
	id, _, _ := strings.Cut(lines[0], " ")
	if !strings.HasSuffix(lines[0], "no one") || !strings.HasSuffix(lines[1], "no two") {
		t.Errorf("broker dead list = %q, want both with their reasons, the older first", lines)
	}
	if text := strings.Join(dead(1, "show", "--trigger", "convert", id), "\n"); !strings.Contains(text, `"raw": "one"`) {
		t.Errorf("broker dead show = %s, want the message", text)
	}
	dead(1, "drop", id)
	if lines := dead(1, "list"); !strings.HasSuffix(lines[0], "no two") {
		t.Errorf("broker dead list after a drop = %q, want the other one, with its reason", lines)
	}
	dead(1, "replay", "--all")
	dead(0, "list")
	if err := command([]string{"replay", "--trigger", "none"}, io.Discard)(t.Context(), env); err == nil {
		t.Error("broker replay --trigger none = nil, want an error")
	}
}

// startBroker has a broker make the queues.
func startBroker(t *testing.T, env envconfig.Lookuper) {
	t.Helper()
	var c broker.QueueConfig
	if err := serve.Load(t.Context(), env, &c); err != nil {
		t.Fatalf("Load() = %v", err)
	}
	queue, _, err := c.Open()
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := queue.Subscribe(ctx, "convert"); err != nil {
		t.Fatalf("Subscribe() = %v", err)
	}
	if err := queue.Close(ctx); err != nil {
		t.Fatalf("Close() = %v", err)
	}
}

func TestCommandFaults(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"play"}, {"replay"}, {"replay", "--trigger"}, {"replay", "--trigger", "a", "b"},
		{"replay", "--queue", "a"}, {"dead"}, {"dead", "drop"}, {"dead", "show", "--all", "x"}, {"dead", "list", "x"}} {
		if err := command(args, io.Discard)(t.Context(), envconfig.MapLookuper(nil)); err == nil {
			t.Errorf("broker %v = nil, want an error", args)
		}
	}
}
