package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// piece is how much is sent in one request, in bytes: proxies in front of a service may refuse more than 100 MB.
	piece = 64 << 20
	// stall is how long a request may take no byte.
	stall = time.Minute
	// answer is how long the service may take to store a piece that it has.
	answer = 10 * time.Minute
)

// Begin begins an upload of so many bytes, and gives its path.
func (c *Client) Begin(ctx context.Context, length int64, metadata map[string]string) (upload string, err error) {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		pairs = append(pairs, key+" "+base64.StdEncoding.EncodeToString([]byte(metadata[key])))
	}
	err = c.retry(ctx, func() (bool, error) {
		r, err := c.request(ctx, http.MethodPost, "/files", nil)
		if err != nil {
			return false, err
		}
		r.Header.Set("Tus-Resumable", "1.0.0")
		r.Header.Set("Upload-Length", strconv.FormatInt(length, 10))
		r.Header.Set("Upload-Metadata", strings.Join(pairs, ","))
		res, err := c.do(r)
		if err != nil {
			return false, err
		}
		defer res.Body.Close()
		at, err := res.Location()
		if err != nil {
			return false, fmt.Errorf("begin an upload: %w", err)
		}
		upload = "/files/" + path.Base(at.Path)
		return true, nil
	})
	return upload, err
}

// Offset tells how many bytes of an upload are stored, and its job when these are all.
func (c *Client) Offset(ctx context.Context, upload string) (offset int64, jobID string, err error) {
	err = c.retry(ctx, func() (bool, error) {
		r, err := c.request(ctx, http.MethodHead, upload, nil)
		if err != nil {
			return false, err
		}
		r.Header.Set("Tus-Resumable", "1.0.0")
		offset, jobID, err = c.stored(r)
		return err == nil, err
	})
	return offset, jobID, err
}

// Send sends what is missing of an upload, and gives its job. It tells how many bytes are sent.
func (c *Client) Send(
	ctx context.Context, upload string, src io.ReaderAt, size int64, sent func(bytes int64),
) (jobID string, err error) {
	offset, jobID, err := c.Offset(ctx, upload)
	if err != nil {
		return "", err
	}
	for jobID == "" {
		if offset >= size {
			return "", fmt.Errorf("%s has %d bytes and no job: send the video again", upload, offset)
		}
		err := c.retry(ctx, func() (bool, error) {
			at, id, err := c.sendPiece(ctx, upload, src, offset, size, sent)
			if final(err) {
				return false, err
			}
			if err != nil { // where it broke off, only the service knows
				var headErr error
				if at, id, headErr = c.Offset(ctx, upload); headErr != nil {
					return false, headErr
				}
				if id != "" {
					err = nil
				}
			}
			progress := at > offset
			offset, jobID = at, id
			return progress, err
		})
		if err != nil {
			return "", err
		}
	}
	return jobID, nil
}

// sendPiece sends the next bytes of an upload, and gives the new offset.
func (c *Client) sendPiece(
	ctx context.Context, upload string, src io.ReaderAt, offset, size int64, sent func(bytes int64),
) (int64, string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n := min(piece, size-offset)
	stalled := time.AfterFunc(stall, cancel)
	defer stalled.Stop()
	at := offset
	body := readerFunc{io.NewSectionReader(src, offset, n), func(k int) {
		at += int64(k)
		sent(at)
		if at < offset+n {
			stalled.Reset(stall)
		} else {
			stalled.Reset(answer)
		}
	}}
	r, err := c.request(ctx, http.MethodPatch, upload, body)
	if err != nil {
		return 0, "", err
	}
	r.ContentLength = n
	r.Header.Set("Tus-Resumable", "1.0.0")
	r.Header.Set("Content-Type", "application/offset+octet-stream")
	r.Header.Set("Upload-Offset", strconv.FormatInt(offset, 10))
	return c.stored(r)
}

// stored sends a request whose answer tells the offset, and the job when the upload is complete.
func (c *Client) stored(r *http.Request) (offset int64, jobID string, err error) {
	res, err := c.do(r)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	if offset, err = strconv.ParseInt(res.Header.Get("Upload-Offset"), 10, 64); err != nil {
		return 0, "", fmt.Errorf("%s %s: the answer has no Upload-Offset: %w", r.Method, r.URL.Path, err)
	}
	if id, ok := strings.CutPrefix(res.Header.Get("Location"), "/jobs/"); ok {
		jobID = id
	}
	return offset, jobID, nil
}

// readerFunc tells what is read.
type readerFunc struct {
	io.Reader
	read func(n int)
}

func (r readerFunc) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.read(n)
	return n, err
}
