package login

import (
	"errors"
	"net/http"

	"github.com/soundstrip/soundstrip/eventing/problem"
	"github.com/soundstrip/soundstrip/functions/internal/account"
)

// isAdmin tells whether a request is an admin's. The store says who is one: a token may be out of date.
func (h *handler) isAdmin(r *http.Request) (account.User, error) {
	u, _, err := h.bearer(r)
	if err == nil && !u.Admin {
		err = problem.New(problem.Forbidden, "only an admin may do this")
	}
	return u, err
}

// listUsers lists all users for an admin, in the order in which they were made.
func (h *handler) listUsers(w http.ResponseWriter, r *http.Request) error {
	if _, err := h.isAdmin(r); err != nil {
		return err
	}
	users, err := h.users.List(r.Context())
	if err != nil {
		return answer(err)
	}
	all := make([]person, len(users))
	for i, u := range users {
		all[i] = personOf(u)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"users": all})
}

// user does what an admin asks for with one user, and never with the admin's own account: somebody has to be left who
// can take it back. It has no pattern for each method, because those would contradict /users/me.
func (h *handler) user(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPatch && r.Method != http.MethodDelete {
		problem.NotAllowed(http.MethodPatch, http.MethodDelete).ServeHTTP(w, r)
		return nil
	}
	admin, err := h.isAdmin(r)
	if err != nil {
		return err
	}
	u, err := h.users.ByID(r.Context(), r.PathValue("id"))
	switch {
	case errors.Is(err, account.ErrNotFound):
		return problem.New(problem.NotFound, "there is no user %q: GET /users lists them", r.PathValue("id"))
	case err != nil:
		return answer(err)
	case u.ID == admin.ID:
		return problem.New(problem.Conflict, "this is your own account: ask another admin")
	case r.Method == http.MethodDelete:
		return h.deleteUser(w, r, admin, u)
	}
	return h.changeUser(w, r, admin, u)
}

func (h *handler) deleteUser(w http.ResponseWriter, r *http.Request, admin, u account.User) error {
	err := h.users.Delete(r.Context(), u.Email)
	h.audit(r, "user.deleted", u.ID, admin.ID, err)
	if err != nil {
		return answer(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// changeUser does what the fields ask for that are there. A user who may do less loses all tokens.
func (h *handler) changeUser(w http.ResponseWriter, r *http.Request, admin, u account.User) error {
	var in struct {
		Disabled *bool   `json:"disabled"`
		Group    *string `json:"group"`
		Password *string `json:"password"`
	}
	if err := readBody(w, r, &in); err != nil {
		return err
	}
	if in.Disabled == nil && in.Group == nil && in.Password == nil {
		return problem.New(problem.Unprocessable, "nothing is to be changed: want disabled, group or password")
	}
	if in.Group != nil {
		if err := h.users.SetGroup(r.Context(), u.Email, *in.Group); err != nil {
			return answer(err)
		}
	}
	if in.Password != nil {
		if err := account.CheckChoice(u.Email, *in.Password); err != nil {
			return answer(err)
		}
		if err := h.users.SetPassword(r.Context(), u.Email, *in.Password); err != nil {
			return answer(err)
		}
	}
	if in.Disabled != nil {
		if err := h.users.SetDisabled(r.Context(), u.Email, *in.Disabled); err != nil {
			return answer(err)
		}
	}
	h.audit(r, "user.changed", u.ID, admin.ID, nil)
	u, err := h.users.ByID(r.Context(), u.ID)
	if err != nil {
		return answer(err)
	}
	return writeJSON(w, http.StatusOK, personOf(u))
}
