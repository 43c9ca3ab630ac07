package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/api"
	"github.com/soundstrip/soundstrip/functions/internal/job"
)

const usageUsage = `usage: soundstrip usage [--url URL]

Shows what is used of what you may have at a service, and when the MP3s of your newest 200 videos end there`

// connect makes a client for who is logged in at the address.
func connect(command, at string) (*api.Client, error) {
	tokens, err := readTokens()
	if err != nil {
		return nil, fmt.Errorf("soundstrip %s: %w", command, err)
	}
	token := tokens[at]
	if token == "" {
		return nil, &serve.Exit{Code: exitLogin, Err: fmt.Errorf("soundstrip %s: not logged in at %s: soundstrip login "+
			"--url %[2]s EMAIL", command, at)}
	}
	c, err := api.New(at, token)
	if err != nil {
		return nil, usage(command, err)
	}
	c.Renewed = func(token string) { _ = keepToken(at, token) } // the old one holds for a while
	return c, nil
}

func runUsage(ctx context.Context, env envconfig.Lookuper, args []string) error {
	f := flag.NewFlagSet("usage", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	at := urlFlag(f, env)
	if err := f.Parse(args); err != nil || f.NArg() > 0 {
		return &serve.Exit{Code: exitUsage, Err: errors.New(usageUsage)}
	}
	c, err := connect("usage", *at)
	if err != nil {
		return err
	}
	var quota struct {
		Used   job.Usage
		Limits job.Limits
	}
	var list struct{ Jobs []job.Job }
	err = c.Get(ctx, "/users/me/usage", &quota)
	if err == nil {
		err = c.Get(ctx, "/jobs?limit=200", &list)
	}
	if err != nil {
		return sendError("soundstrip usage", err)
	}
	return showUsage(os.Stdout, quota.Used, quota.Limits, list.Jobs)
}

func showUsage(out io.Writer, used job.Usage, limits job.Limits, jobs []job.Job) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(what, used, limit string, bounded bool) {
		if !bounded {
			limit = "no limit"
		}
		fmt.Fprintf(w, "%s\t%s\tof %s\n", what, used, limit)
	}
	line("stored", megabytes(used.Bytes), megabytes(limits.Bytes), limits.Bytes > 0)
	line("unfinished jobs", fmt.Sprint(used.Jobs), fmt.Sprint(limits.Jobs), limits.Jobs > 0)
	line("uploads under way", fmt.Sprint(used.Uploads), fmt.Sprint(limits.Uploads), limits.Uploads > 0)
	line("minutes made today", fmt.Sprintf("%.0f", used.Minutes), fmt.Sprint(limits.Minutes), limits.Minutes > 0)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, j := range jobs {
		if j.MP3 != nil && j.Expires != nil && j.State != job.Expired {
			fmt.Fprintf(w, "%s\tis kept until %s\n", j.Filename, j.Expires.Local().Format(time.DateTime))
		}
	}
	return w.Flush()
}
