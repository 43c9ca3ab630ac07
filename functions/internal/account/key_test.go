package account

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s := newTestStore(t, b)
		insertUser(t, b, email)
		insertUser(t, b, "other@email.com")
		u, err := s.ByEmail(t.Context(), email)
		if err != nil {
			t.Fatal(err)
		}
		other, err := s.ByEmail(t.Context(), "other@email.com")
		if err != nil {
			t.Fatal(err)
		}
		soon := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
		k, secret, err := s.CreateKey(t.Context(), u.ID, Key{Name: " backup ", Scope: "upload read", Expires: &soon})
		if err != nil || !strings.HasPrefix(secret, KeyPrefix) || len(secret) < 29 || k.Name != "backup" {
			t.Fatalf("CreateKey() = %+v, %q, %v", k, secret, err)
		}
		if age := time.Since(k.Created); age < -time.Minute || age > time.Hour {
			t.Errorf("the key was created %v ago", age)
		}
		var kept string
		if err := b.db.QueryRowContext(t.Context(), "SELECT hash FROM api_key").Scan(&kept); err != nil ||
			strings.Contains(kept, secret[len(KeyPrefix):]) {
			t.Errorf("%q is kept of the key %q, %v", kept, secret, err)
		}
		got, by, err := s.ByKey(t.Context(), secret)
		if err != nil || got.ID != u.ID || by.ID != k.ID || by.Scope != "upload read" || !by.Expires.Equal(soon) {
			t.Errorf("ByKey() = %+v, %+v, %v", got, by, err)
		}
		if all, err := s.Keys(t.Context(), u.ID); err != nil || len(all) != 1 || all[0].Used == nil {
			t.Errorf("Keys() = %+v, %v, want one that was used", all, err)
		}
		if all, err := s.Keys(t.Context(), other.ID); err != nil || len(all) != 0 {
			t.Errorf("Keys() of another = %+v, %v", all, err)
		}
		if err := s.EndKey(t.Context(), other.ID, k.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("EndKey() by another = %v, want %v", err, ErrNotFound)
		}
		refused := func(why string) {
			t.Helper()
			if _, _, err := s.ByKey(t.Context(), secret); !errors.Is(err, ErrCredentials) {
				t.Errorf("ByKey() of %s = %v, want %v", why, err, ErrCredentials)
			}
		}
		if err := s.SetDisabled(t.Context(), email, true); err != nil {
			t.Fatal(err)
		}
		refused("a disabled user")
		if err := s.SetDisabled(t.Context(), email, false); err != nil {
			t.Fatal(err)
		}
		execute(t, b.db, "UPDATE api_key SET expires = 1")
		refused("one that has expired")
		execute(t, b.db, "UPDATE api_key SET expires = 0")
		if err := s.EndKey(t.Context(), u.ID, k.ID); err != nil {
			t.Fatal(err)
		}
		refused("one that was ended")

		past := time.Now().Add(-24 * time.Hour)
		for _, bad := range []Key{{}, {Name: strings.Repeat("x", 101)}, {Name: "\xff"}, {Name: "a", Expires: &past}} {
			if _, _, err := s.CreateKey(t.Context(), u.ID, bad); !errors.As(err, new(RuleError)) {
				t.Errorf("CreateKey(%+v) = %v, want a RuleError", bad, err)
			}
		}
		for n := range maxKeys + 1 {
			_, _, err := s.CreateKey(t.Context(), u.ID, Key{Name: "a", Scope: "read"})
			if full := errors.As(err, new(RuleError)); full != (n == maxKeys) || err != nil && !full {
				t.Fatalf("CreateKey() no. %d = %v", n+1, err)
			}
		}
	})
}

// TestDelete has an account go, and another come by the same address: it has another ID, and not the files.
func TestDelete(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s := newTestStore(t, b)
		// As the old service made it: the files are kept by the address.
		execute(t, b.db, "INSERT INTO `user` (email, password) VALUES (?, ?)", email, decoyOf(cheap))
		old, err := s.ByEmail(t.Context(), email)
		if err != nil || old.Owner != email {
			t.Fatalf("ByEmail() = %+v, %v, want who owns the files of %s", old, err, email)
		}
		_, secret, err := s.CreateKey(t.Context(), old.ID, Key{Name: "a", Scope: "read"})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), email); err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), email); !errors.Is(err, ErrNotFound) {
			t.Errorf("Delete() again = %v, want %v", err, ErrNotFound)
		}
		if _, _, err := s.ByKey(t.Context(), secret); !errors.Is(err, ErrCredentials) {
			t.Errorf("ByKey() = %v, want %v", err, ErrCredentials)
		}
		if after, _, err := s.TokensAfter(t.Context(), 0); err != nil || after[old.ID] == 0 {
			t.Errorf("TokensAfter() = %v, %v, want that the tokens ended", after, err)
		}
		deleted, err := s.Deletions(t.Context())
		if err != nil || len(deleted) != 1 || deleted[0] != (Deletion{old.ID, email}) {
			t.Errorf("Deletions() = %+v, %v", deleted, err)
		}
		// The old service makes it anew, and then we do.
		for name, again := range map[string]func(){
			"by the old service": func() {
				execute(t, b.db, "INSERT INTO `user` (email, password) VALUES (?, ?)", email, decoyOf(cheap))
			},
			"by us": func() { create(t, s, email, password, false) },
		} {
			again()
			if u, err := s.ByEmail(t.Context(), email); err != nil || u.ID == old.ID || u.Owner != u.ID {
				t.Errorf("made anew %s: ByEmail() = %+v, %v, want another ID, and files of its own", name, u, err)
			}
			if err := s.Delete(t.Context(), email); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Swept(t.Context(), old.ID); err != nil {
			t.Fatal(err)
		}
		if deleted, err = s.Deletions(t.Context()); err != nil || len(deleted) != 3 {
			t.Errorf("Deletions() = %+v, %v, want all three for a day", deleted, err)
		}
		execute(t, b.db, "UPDATE deleted_user SET since = since - ? WHERE uid = ?", keep+2, old.ID)
		if err := s.Swept(t.Context(), old.ID); err != nil {
			t.Fatal(err)
		}
		if deleted, err = s.Deletions(t.Context()); err != nil || len(deleted) != 2 {
			t.Errorf("Deletions() = %+v, %v, want two", deleted, err)
		}
	})
}

func TestRehash(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, b backend) {
		s := newTestStore(t, b)
		insertUser(t, b, "hashed@email.com")
		execute(t, b.db, "INSERT INTO `user` (email, password) VALUES (?, ?), ('empty@email.com', '')", email, "Sécret, 12 ")
		if n, err := s.Rehash(t.Context()); n != 1 || err != nil {
			t.Errorf("Rehash() = %d, %v, want 1", n, err)
		}
		if got := storedPassword(t, b.db, "empty@email.com"); got != "" {
			t.Errorf("the password that lets nobody in is %q now", got)
		}
		if _, err := s.Authenticate(t.Context(), email, "Sécret, 12 ", ""); err != nil {
			t.Errorf("Authenticate() = %v", err)
		}
		if n, err := s.Rehash(t.Context()); n != 0 || err != nil {
			t.Errorf("Rehash() again = %d, %v, want 0", n, err)
		}
	})
}
