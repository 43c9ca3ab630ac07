package notify_test

import (
	"io"
	"net/http"
	"time"

	"github.com/soundstrip/soundstrip/functions/notify"
)

// A receiver of webhooks checks the signature before it believes anything.
func ExampleVerifyWebhook() {
	secret := []byte("the WEBHOOK_SECRET that the function notify has")
	http.HandleFunc("POST /hook", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
		if err != nil {
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
			return
		}
		if err := notify.VerifyWebhook(secret, r.Header.Get(notify.SignatureHeader), body, time.Now(),
			5*time.Minute); err != nil {
			http.Error(w, "who are you?", http.StatusForbidden)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}
