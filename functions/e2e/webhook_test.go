package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// testWebhook sets a user's webhook. It is told of a job, and not of one that has a webhook of its own.
func testWebhook(t *testing.T, url, token string) {
	posts := make(chan string, 8) // the path and the job's id
	secrets := map[string]string{"/jobs": "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("job-", 8)))}
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secrets[r.URL.Path], "whsec_"))
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); err != nil ||
			r.Header.Get("webhook-signature") != want {
			t.Errorf("post to %s is signed %s, want %s", r.URL.Path, r.Header.Get("webhook-signature"), want)
		}
		var told view
		if err := json.Unmarshal(body, &told); err != nil || told.MP3 == nil {
			t.Errorf("post to %s is %s, %v, want a job with an MP3", r.URL.Path, body, err)
		}
		posts <- r.URL.Path + " " + told.JobID
	}))
	defer receiver.Close()
	address, bearer := url+"/users/me/webhook", "Authorization: Bearer "+token
	var hook struct{ URL, Secret string }
	for _, want := range []int{201, 200} {
		status, body := curl(t, "-X", "PUT", "-H", bearer, "-H", "Content-Type: application/json",
			"-d", `{"url": "`+receiver.URL+`/user?key=1"}`, address)
		before := hook.Secret
		if err := json.Unmarshal([]byte(body), &hook); err != nil || status != want || want == 200 && hook.Secret != before {
			t.Fatalf("PUT = %d %s, %v, want %d and the same secret", status, body, err, want)
		}
	}
	secrets["/user"] = hook.Secret
	if status, body := curl(t, "-H", bearer, address); status != 200 || !strings.Contains(body, receiver.URL+`/user"`) {
		t.Errorf("GET = %d %s, want the address without its query", status, body)
	}
	short := video(t, "hooked.mp4", 2)
	for path, options := range map[string][]string{
		"/user": nil, "/jobs": {"webhook=" + receiver.URL + "/jobs", "webhook_secret=" + secrets["/jobs"]},
	} {
		id := upload(t, url, token, short, options...)
		await(t, url, token, id, "notified", "failed")
		select {
		case told := <-posts:
			if told != path+" "+id {
				t.Errorf("the post is %s, want %s %s", told, path, id)
			}
		default:
			t.Errorf("job %s is told to nobody, want to %s", id, path)
		}
	}
	if status, body := curl(t, "-X", "DELETE", "-H", bearer, address); status != 204 {
		t.Errorf("DELETE = %d %s, want 204", status, body)
	}
	id := upload(t, url, token, short)
	await(t, url, token, id, "notified", "failed")
	if len(posts) > 0 {
		t.Errorf("after the end there is a post to %s", <-posts)
	}
}
