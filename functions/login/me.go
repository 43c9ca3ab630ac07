package login

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/account"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

// person is what a user is told of the account.
type person struct {
	ID      string    `json:"id"`
	Email   string    `json:"email"`
	Group   string    `json:"group"`
	Created time.Time `json:"created"`
	// Disabled says that the user may not log in, and Elsewhere that there is no password here to do so.
	Disabled  bool `json:"disabled,omitempty"`
	Elsewhere bool `json:"elsewhere,omitempty"`
}

func personOf(u account.User) person {
	return person{u.ID, u.Email, u.Group, u.Created, u.Disabled, u.Elsewhere}
}

func (h *handler) showMe(w http.ResponseWriter, r *http.Request) error {
	u, _, err := h.bearer(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, personOf(u))
}

// logout ends all tokens of the user; API keys stay.
func (h *handler) logout(w http.ResponseWriter, r *http.Request) error {
	u, _, err := h.bearer(r)
	if err != nil {
		return err
	}
	err = h.users.EndTokens(r.Context(), u.Email)
	h.audit(r, "token.revoked", u.ID, u.ID, err)
	if err != nil {
		return answer(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// setPassword changes the password of who knows it, and ends all tokens.
func (h *handler) setPassword(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Current  string `json:"current"`
		Password string `json:"password"`
	}
	u, err := h.confirmed(w, r, &in, func() string { return in.Current })
	if err != nil {
		return err
	}
	if err := account.CheckChoice(u.Email, in.Password); err != nil {
		return answer(err)
	}
	err = h.users.SetPassword(r.Context(), u.Email, in.Password)
	h.audit(r, "user.changed", u.ID, u.ID, err)
	if err != nil {
		return answer(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// deleteMe deletes the account of who knows its password. The files go when they are swept.
func (h *handler) deleteMe(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		Password string `json:"password"`
	}
	u, err := h.confirmed(w, r, &in, func() string { return in.Password })
	if err != nil {
		return err
	}
	err = h.users.Delete(r.Context(), u.Email)
	h.audit(r, "user.deleted", u.ID, u.ID, err)
	if err != nil {
		return answer(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// recently is how long after a sign-on elsewhere it stands for the password.
const recently = 10 * time.Minute

// confirmed gives the user of the token, after reading the body and checking that it has the password: a token that was
// left somewhere does not suffice. Who has no password here must have signed on recently.
func (h *handler) confirmed(
	w http.ResponseWriter, r *http.Request, in any, password func() string,
) (account.User, error) {
	u, c, err := h.bearer(r)
	if err != nil {
		return u, err
	}
	if err := readBody(w, r, in); err != nil {
		return u, err
	}
	if u.Elsewhere {
		if c.AuthTime == nil || h.now().Sub(c.AuthTime.Time) > recently {
			return u, problem.New(problem.Forbidden, "you signed on more than %v ago: sign on again, and then do this", recently)
		}
		return u, nil
	}
	_, err = h.users.Authenticate(r.Context(), u.Email, password(), h.network(r))
	h.audit(r, "password.asked", u.ID, u.ID, err)
	if errors.Is(err, account.ErrCredentials) {
		return u, problem.Wrap(err, problem.Forbidden, "the password that you have now is another: send that one, too")
	}
	if err != nil {
		return u, answer(err)
	}
	return u, nil
}

func (h *handler) listKeys(w http.ResponseWriter, r *http.Request) error {
	u, _, err := h.bearer(r)
	if err != nil {
		return err
	}
	keys, err := h.users.Keys(r.Context(), u.ID)
	if err != nil {
		return answer(err)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"keys": keys})
}

// makeKey makes an API key, and shows it this once.
func (h *handler) makeKey(w http.ResponseWriter, r *http.Request) error {
	u, _, err := h.bearer(r)
	if err != nil {
		return err
	}
	var in struct {
		Name    string   `json:"name"`
		Scopes  []string `json:"scopes"`
		Expires string   `json:"expires"`
	}
	if err := readBody(w, r, &in); err != nil {
		return err
	}
	k := account.Key{Name: in.Name}
	if k.Scope, err = scopeOf(in.Scopes); err != nil {
		return err
	}
	if in.Expires != "" {
		expires, err := time.Parse(time.RFC3339, in.Expires)
		if err != nil {
			return problem.New(problem.Unprocessable, "expires is %q: want a time such as 2027-01-31T00:00:00Z", in.Expires)
		}
		k.Expires = &expires
	}
	made, secret, err := h.users.CreateKey(r.Context(), u.ID, k)
	h.audit(r, "key.made", made.ID, u.ID, err)
	if err != nil {
		return answer(err)
	}
	return writeJSON(w, http.StatusCreated, struct {
		account.Key
		Secret string `json:"key"`
	}{made, secret})
}

// scopeOf writes scopes as a token has them: both when none is asked for.
func scopeOf(asked []string) (string, error) {
	asked = strings.Fields(strings.Join(asked, " "))
	var scopes []string
	for _, s := range token.Scopes {
		if len(asked) == 0 || slices.Contains(asked, s) {
			scopes = append(scopes, s)
		}
	}
	for _, s := range asked {
		if !slices.Contains(token.Scopes, s) {
			return "", problem.New(problem.Unprocessable, "there is no scope %q: want some of %s", s,
				strings.Join(token.Scopes, ", "))
		}
	}
	return strings.Join(scopes, " "), nil
}

func (h *handler) endKey(w http.ResponseWriter, r *http.Request) error {
	u, _, err := h.bearer(r)
	if err != nil {
		return err
	}
	err = h.users.EndKey(r.Context(), u.ID, r.PathValue("id"))
	h.audit(r, "key.ended", r.PathValue("id"), u.ID, err)
	switch {
	case errors.Is(err, account.ErrNotFound):
		return problem.New(problem.NotFound, "you have no key %q: GET /users/me/keys lists yours", r.PathValue("id"))
	case err != nil:
		return answer(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// deletions lists the users whose files are to go.
func (h *handler) deletions(w http.ResponseWriter, r *http.Request) error {
	all, err := h.users.Deletions(r.Context())
	if err != nil {
		return answer(err)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"deleted": all})
}

// swept takes the word that the files of a deleted user are gone.
func (h *handler) swept(w http.ResponseWriter, r *http.Request) error {
	if err := h.users.Swept(r.Context(), r.PathValue("id")); err != nil {
		return answer(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(v)
}

// readBody reads a JSON object, or a form whose fields have the names of the JSON. The body tells which it is: curl -d
// calls everything a form.
func readBody(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return problem.New(problem.TooLarge, "the request's body is larger than %d bytes, which is not needed", maxBody)
	}
	if err != nil {
		return problem.Wrap(err, problem.Invalid, "the request's body broke off")
	}
	if !bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return problem.New(problem.Invalid, "the request's body is neither a JSON object nor a form")
		}
		fields := map[string]any{}
		for name, values := range form {
			fields[name] = values[0]
			if name == "scopes" {
				fields[name] = values
			}
		}
		if body, err = json.Marshal(fields); err != nil {
			return err
		}
	}
	if err := json.Unmarshal(body, into); err != nil {
		return problem.New(problem.Invalid, "the request's body is not what is wanted here: %s names its fields",
			"GET /openapi.json")
	}
	return nil
}
