package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/soundstrip/soundstrip/functions/internal/job"
)

// Get reads what the service says in JSON at a path.
func (c *Client) Get(ctx context.Context, path string, into any) error {
	return c.retry(ctx, func() (bool, error) {
		r, err := c.request(ctx, http.MethodGet, path, nil)
		if err != nil {
			return false, err
		}
		r.Header.Set("Accept", "application/json")
		res, err := c.do(r)
		if err != nil {
			return false, err
		}
		defer res.Body.Close()
		return false, json.NewDecoder(res.Body).Decode(into)
	})
}

// Await watches a job until there is nothing left to convert, and gives it as it is then. It tells how it goes on.
func (c *Client) Await(ctx context.Context, id string, update func(j job.Job)) (j job.Job, err error) {
	last := ""
	err = c.retry(ctx, func() (bool, error) {
		r, err := c.request(ctx, http.MethodGet, "/jobs/"+id+"/events", nil)
		if err != nil {
			return false, err
		}
		if last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		res, err := c.do(r)
		if err != nil {
			return false, err
		}
		defer res.Body.Close()
		told := false
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			// https://html.spec.whatwg.org/multipage/server-sent-events.html
			switch field, value, _ := strings.Cut(lines.Text(), ": "); field {
			case "id":
				last = value
			case "data":
				if err := json.Unmarshal([]byte(value), &j); err != nil {
					return told, fmt.Errorf("event of job %s: %w", id, err)
				}
				told = true
				update(j)
				if j.State.Finished() {
					return true, nil
				}
			}
		}
		return told, errors.Join(lines.Err(), errors.New("the stream of events ended"))
	})
	return j, err
}

// Fetch writes the MP3 of a job. What broke off goes on where it broke off.
func (c *Client) Fetch(ctx context.Context, j job.Job, dst io.Writer) error {
	got := int64(0)
	return c.retry(ctx, func() (bool, error) {
		before := got
		r, err := c.request(ctx, http.MethodGet, "/jobs/"+j.ID+"/mp3", nil)
		if err != nil {
			return false, err
		}
		if got > 0 {
			r.Header.Set("Range", fmt.Sprintf("bytes=%d-", got))
		}
		res, err := c.do(r)
		if err != nil {
			return false, err
		}
		defer res.Body.Close()
		if got > 0 && res.StatusCode != http.StatusPartialContent {
			return false, fmt.Errorf("the service answers %s and not with the rest of the MP3", res.Status)
		}
		n, err := io.Copy(dst, res.Body)
		got += n
		if err == nil && got != j.MP3.Length {
			err = fmt.Errorf("%d of %d bytes of the MP3 arrived", got, j.MP3.Length)
		}
		return got > before, err
	})
}
