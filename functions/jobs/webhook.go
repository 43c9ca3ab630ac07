package jobs

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/job"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// maxWebhook is the length of a body that names a webhook, with room to spare, in bytes.
const maxWebhook = 16 << 10

// setWebhook makes an address the bearer's webhook. It tells the secret, which stays the same for the same address.
func (s *server) setWebhook(w http.ResponseWriter, r *http.Request) error {
	owner := token.FromContext(r.Context()).Owner()
	if owner == "" {
		return nobody()
	}
	address, err := addressIn(w, r)
	if err != nil {
		return err
	}
	hook, err := job.NewWebhook(address)
	if err != nil {
		return problem.New(problem.Unprocessable, "url: %v", err)
	}
	status := http.StatusOK
	switch _, err := s.webhooks.Get(r.Context(), owner); {
	case errors.Is(err, job.ErrNotFound):
		status = http.StatusCreated
	case err != nil:
		return unavailable(err)
	}
	if hook, err = s.webhooks.Set(r.Context(), owner, hook); err != nil {
		return unavailable(err)
	}
	writeJSON(w, status, struct {
		URL    string `json:"url"`
		Secret string `json:"secret"`
	}{hook.URL, hook.Secret})
	return nil
}

// addressIn gives the address in the body of a request. It is JSON whatever it is called: curl -d calls everything a
// form.
func addressIn(w http.ResponseWriter, r *http.Request) (string, error) {
	var body struct {
		URL string `json:"url"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxWebhook)).Decode(&body)
	var told *problem.Error
	switch {
	case errors.As(err, new(*http.MaxBytesError)):
		return "", problem.New(problem.TooLarge, "the body takes more than %d bytes, which no webhook does", maxWebhook)
	case errors.As(err, &told): // the body did not come
		return "", err
	case err != nil:
		return "", problem.Wrap(err, problem.Invalid, `the body cannot be read: send {"url": "https://example.com/hook"}`)
	}
	return body.URL, nil
}

// showWebhook shows the bearer's webhook as a job's is shown.
func (s *server) showWebhook(w http.ResponseWriter, r *http.Request) error {
	owner := token.FromContext(r.Context()).Owner()
	if owner == "" {
		return nobody()
	}
	hook, err := s.webhooks.Get(r.Context(), owner)
	switch {
	case errors.Is(err, job.ErrNotFound):
		return problem.New(problem.NotFound, "you have no webhook: PUT /users/me/webhook makes one")
	case err != nil:
		return unavailable(err)
	}
	writeJSON(w, http.StatusOK, struct {
		URL job.Webhook `json:"url"`
	}{hook})
	return nil
}

// endWebhook ends the bearer's webhook.
func (s *server) endWebhook(w http.ResponseWriter, r *http.Request) error {
	owner := token.FromContext(r.Context()).Owner()
	if owner == "" {
		return nobody()
	}
	if err := s.webhooks.End(r.Context(), owner); err != nil {
		return unavailable(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
