package e2e

import (
	"encoding/json"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// user runs soundstrip user on a data folder.
func user(t *testing.T, data, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "soundstrip"), append([]string{"user"}, args...)...)
	cmd.Env = []string{"SOUNDSTRIP_DATA=" + data}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("soundstrip user %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// status asks for something with a token.
func status(t *testing.T, method, url, token string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// TestTokensEnd takes from users what they had, with another program than the one that has to learn of it.
func TestTokensEnd(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := laptop(t, data)
	user(t, data, "Violet-Harbour-7", "add", "--password-stdin", "other@email.com")
	other := login(t, s.url, "other@email.com:Violet-Harbour-7")
	for _, tt := range []struct {
		name, stdin string
		args        []string
	}{
		{name: "a demoted admin", args: []string{"demote", "georgio@email.com"}},
		{name: "another password", stdin: "Violet-Harbour-8",
			args: []string{"passwd", "--password-stdin", "georgio@email.com"}},
		{name: "a disabled user", args: []string{"disable", "georgio@email.com"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			password := "Admin123"
			if tt.args[0] == "disable" {
				password = "Violet-Harbour-8"
			}
			token := login(t, s.url, "georgio@email.com:"+password)
			if got := status(t, "GET", s.url+"/jobs", token); got != 200 {
				t.Fatalf("GET /jobs = %d before, want 200", got)
			}
			user(t, data, tt.stdin, tt.args...)
			eventually(t, "the token to end", func() bool { return status(t, "GET", s.url+"/jobs", token) == 403 })
			for _, try := range []string{"POST /upload", "DELETE /jobs/6b0c20eaffffffffffffffff", "POST /validate",
				"POST /token"} {
				method, path, _ := strings.Cut(try, " ")
				if got := status(t, method, s.url+path, token); got != 403 {
					t.Errorf("%s by %s = %d, want 403", try, tt.name, got)
				}
			}
		})
	}
	if got := status(t, "GET", s.url+"/jobs", other); got != 200 {
		t.Errorf("GET /jobs of another user = %d, want 200", got)
	}
}

var linkToken = regexp.MustCompile(`#password=3D([A-Z2-7]+)`)

// mailed gives the token of the link in the newest mail to somebody that is not one of those before.
func mailed(t *testing.T, s *system, to string, before ...string) (token string) {
	t.Helper()
	eventually(t, "a mail to "+to, func() bool {
		s.mails.mu.Lock()
		defer s.mails.mu.Unlock()
		for _, mail := range s.mails.mails {
			m := linkToken.FindStringSubmatch(strings.ReplaceAll(mail, "=\r\n", ""))
			if strings.HasPrefix(mail, "RCPT "+to+"\n") && m != nil && !slices.Contains(before, m[1]) {
				token = m[1]
				return true
			}
		}
		return false
	})
	return token
}

// ask calls a route with a JSON body, and wants a status.
func ask(t *testing.T, want int, method, url, token, body string) string {
	t.Helper()
	args := []string{"-X", method, "-H", "Content-Type: application/json", "-d", body, url}
	if token != "" {
		args = append(args, "-H", "Authorization: Bearer "+token)
	}
	got, answer := curl(t, args...)
	if got != want {
		t.Fatalf("%s %s = %d %s, want %d", method, url, got, answer, want)
	}
	return answer
}

// sendByKey sends a video by the command line, which has an API key, and gives the job's id.
func sendByKey(t *testing.T, url, key, file string) string {
	t.Helper()
	s := &sender{t: t, home: t.TempDir(), url: url}
	login := s.command("login", "--key")
	login.Stdin = strings.NewReader(key + "\n")
	if out, err := login.CombinedOutput(); err != nil {
		t.Fatalf("soundstrip login --key: %v: %s", err, out)
	}
	code, out, said := s.send("--json", "--no-wait", file)
	var sent struct {
		Job string `json:"job_id"`
	}
	if json.Unmarshal([]byte(out), &sent) != nil || sent.Job == "" {
		t.Fatalf("soundstrip send = %d %s %s, want a job", code, out, said)
	}
	return sent.Job
}

// ours runs a program of ours, and wants it to succeed.
func ours(t *testing.T, env map[string]string, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, program), args...)
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
	return string(out)
}

// testLife signs up, confirms, makes a key, sends a video by it, meets the quota, changes the password and leaves; then
// somebody else signs up with the address.
func testLife(t *testing.T, s *system) {
	const email, first, second = "life@email.com", "Violet-Harbour-7", "Violet-Harbour-8"
	ask(t, 202, "POST", s.url+"/users", "", `{"email": "`+email+`"}`)
	link := mailed(t, s, email)
	ask(t, 204, "POST", s.url+"/users/password", "", `{"token": "`+link+`", "password": "`+first+`"}`)
	ours(t, s.users, "soundstrip", "user", "group", email, "students")
	token := login(t, s.url, email+":"+first)
	var me struct{ ID, Email, Group string }
	err := json.Unmarshal([]byte(ask(t, 200, "GET", s.url+"/users/me", token, "")), &me)
	if err != nil || me.Email != email || me.Group != "students" {
		t.Fatalf("GET /users/me = %+v, %v", me, err)
	}
	var key struct{ Key string }
	made := ask(t, 201, "POST", s.url+"/users/me/keys", token, `{"name": "backup"}`)
	if err := json.Unmarshal([]byte(made), &key); err != nil {
		t.Fatal(err)
	}
	id := sendByKey(t, s.url, key.Key, video(t, "life.mp4", 2))
	j := await(t, s.url, key.Key, id, "notified", "failed")
	if j.MP3 == nil {
		t.Fatalf("the job ended %s %+v, want an MP3", j.State, j.Error)
	}
	eventually(t, "the mail about the MP3", func() bool {
		return strings.Contains(s.mails.find(j.MP3.FID), "RCPT "+email)
	})
	if got := status(t, "DELETE", s.url+"/jobs/"+id, key.Key); got != 403 {
		t.Errorf("DELETE of a job by a key = %d, want 403", got)
	}
	large := write(t, "large.mp4", make([]byte, 2<<20))
	if got, answer := curl(t, "-T", large, "-H", "Authorization: Bearer "+key.Key, s.url+"/upload/"); got != 507 ||
		!strings.Contains(answer, "you may keep 1000000 bytes") {
		t.Errorf("PUT of more than the quota = %d %s, want 507", got, answer)
	}

	var feed struct{ URL string }
	if err := json.Unmarshal([]byte(ask(t, 201, "POST", s.url+"/users/me/feed", token, "")), &feed); err != nil {
		t.Fatal(err)
	}
	podcast := s.url + feed.URL[strings.Index(feed.URL, "/feeds/"):]
	if got := status(t, "GET", podcast, ""); got != 200 {
		t.Errorf("GET of the podcast = %d, want 200", got)
	}

	ask(t, 204, "PUT", s.url+"/users/me/password", token, `{"current": "`+first+`", "password": "`+second+`"}`)
	ask(t, 403, "POST", s.url+"/token", token, "") // login knows at once
	eventually(t, "the old password's token to end", func() bool { return status(t, "GET", s.url+"/jobs", token) == 403 })
	if got := status(t, "GET", s.url+"/jobs", key.Key); got != 200 {
		t.Errorf("GET /jobs by the key = %d after the password was changed, want 200", got)
	}
	token = login(t, s.url, email+":"+second)
	if got := status(t, "GET", s.url+"/jobs/"+id, token); got != 200 {
		t.Errorf("GET /jobs/%s by the new password's token = %d, want 200", id, got)
	}

	ask(t, 204, "DELETE", s.url+"/users/me", token, `{"password": "`+second+`"}`)
	eventually(t, "the token to end", func() bool { return status(t, "GET", s.url+"/jobs", token) == 403 })
	eventually(t, "the key to end", func() bool { return status(t, "GET", s.url+"/jobs", key.Key) == 403 })
	if got, _ := curl(t, "-X", "POST", "-u", email+":"+second, s.url+"/login"); got != 401 {
		t.Errorf("POST /login of the deleted account = %d, want 401", got)
	}
	if out := ours(t, s.sweep, "sweep"); !strings.Contains(out, `"forgotten":1`) {
		t.Errorf("sweep = %s, want the account's files gone", out)
	}
	if got := status(t, "GET", podcast, ""); got != 404 {
		t.Errorf("GET of the deleted account's podcast = %d, want 404", got)
	}

	ask(t, 202, "POST", s.url+"/users", "", `{"email": "`+email+`"}`)
	link = mailed(t, s, email, link)
	ask(t, 204, "POST", s.url+"/users/password", "", `{"token": "`+link+`", "password": "`+first+`"}`)
	token = login(t, s.url, email+":"+first)
	var again struct{ ID string }
	err = json.Unmarshal([]byte(ask(t, 200, "GET", s.url+"/users/me", token, "")), &again)
	if err != nil || again.ID == me.ID {
		t.Errorf("GET /users/me = %+v, %v, want another id than %s", again, err, me.ID)
	}
	if got := ask(t, 200, "GET", s.url+"/jobs", token, ""); strings.Contains(got, id) {
		t.Errorf("GET /jobs = %s, want nothing of who had the address before", got)
	}
}
