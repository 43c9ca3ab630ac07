package ffmpeg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/soundstrip/soundstrip/eventing/telemetry"
)

// run runs a program: in is fed to it, out takes all that it writes, line each line of what it says (with the level in
// brackets). What the program said before it wrote something, line has got before out reads that. It returns when the
// process and everything around it has ended.
//
// What went wrong first is the error: the context (Stopped), the feed, out, or the program itself (ExitError). That the
// program wants no more of its input is no error.
func (t *Tool) run(ctx context.Context, program string, in Input, args []string, out func(io.Reader) error,
	line func(string)) (err error) {
	// Of ffmpeg's and ffprobe's files there may be several, for several kinds of processors.
	name := "ffmpeg"
	if program == t.ffprobe {
		name = "ffprobe"
	}
	ctx, span := telemetry.Child(ctx, name, trace.SpanKindInternal, attribute.String("process.executable.name", name))
	defer func() { telemetry.End(span, err) }()
	began := time.Now()
	running, stop := context.WithCancel(ctx)
	defer stop()
	//nolint:gosec // a program of ours, arguments of constants and numbers
	cmd := exec.CommandContext(running, program,
		args...)
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var last tail
	var stdin io.WriteCloser
	var errs [4]error
	if in.File != nil {
		cmd.Stdin = in.File
	} else {
		stdin, errs[0] = cmd.StdinPipe()
	}
	stdout, err := cmd.StdoutPipe()
	errs[1] = err
	stderr, err := cmd.StderrPipe()
	errs[2] = err
	said, err := newReport(stderr, func(s string) {
		if last.add(s) && in.Errors != nil {
			in.Errors.Add(1)
		}
		line(s)
	})
	errs[3] = err
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("run ffmpeg: %w", err)
	}
	if err := t.boxOf(program).start(ctx, cmd); err != nil {
		if ctx.Err() != nil {
			return &Stopped{Cause: context.Cause(ctx)}
		}
		return fmt.Errorf("run ffmpeg: %w", err)
	}
	var g errgroup.Group
	// The first failure stops the process, so that the other goroutines come to their end.
	failing := func(f func() error) {
		g.Go(func() error {
			err := f()
			if err != nil {
				stop()
			}
			return err
		})
	}
	failing(func() error {
		if err := limit(cmd.Process.Pid, t.cpu); err != nil {
			return fmt.Errorf("limit ffmpeg: %w", err)
		}
		if stdin == nil {
			return nil
		}
		to := &wanting{to: stdin}
		err := in.Feed(to)
		_ = stdin.Close()
		if to.enough {
			return nil
		}
		return err
	})
	failing(func() error { return out(&following{stdout, said}) })
	g.Go(said.all)
	failed := g.Wait()
	exited := cmd.Wait()
	state := cmd.ProcessState
	took := (state.UserTime() + state.SystemTime()).Seconds()
	span.SetAttributes(attribute.Int("process.exit.code", state.ExitCode()), attribute.Float64("process.cpu.time", took))
	t.spent.Add(ctx, took)
	switch used := state.UserTime() + state.SystemTime(); {
	case ctx.Err() != nil:
		return &Stopped{Cause: context.Cause(ctx), Busy: used > time.Since(began)/2}
	case failed != nil:
		return failed
	case exited != nil:
		return exitError(state, used >= t.cpu, last.String())
	}
	return nil
}

// wanting is the input of a program. It knows whether the program wants no more. The error alone does not tell: that of
// a file that is read over a connection may be EPIPE as well.
type wanting struct {
	to     io.Writer
	enough bool
}

func (w *wanting) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	w.enough = w.enough || errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed)
	return n, err
}

// exitError reads how a process ended that did not end well.
func exitError(state *os.ProcessState, spent bool, said string) *ExitError {
	// ffmpeg exits with 255 when a signal tells it to end, SIGXCPU among them, and with 123 when one tells it again and
	// again.
	const told, insisted = 255, 123
	e := &ExitError{Code: state.ExitCode(), Lines: said, Killed: state.ExitCode() == told || state.ExitCode() == insisted}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Signal = status.Signal().String()
		switch status.Signal() {
		case syscall.SIGABRT, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGSEGV,
			syscall.SIGSYS, syscall.SIGTRAP:
			// It crashed.
		default:
			e.Killed = true
		}
	}
	if e.Killed && spent {
		e.Killed, e.CPU = false, true
	}
	return e
}

// tail keeps the last errors of what was said.
type tail []string

// add tells whether the line is an error.
func (t *tail) add(line string) bool {
	if !strings.Contains(line, "[error] ") && !strings.Contains(line, "[fatal] ") {
		return false
	}
	if len(*t) == 5 {
		*t = (*t)[1:]
	}
	*t = append(*t, line)
	return true
}

func (t *tail) String() string { return strings.Join(*t, "; ") }
