package account

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"strings"
	"sync"
)

// commonList has the passwords of eight characters and more among the 20,000 that leaks had most often, in lower case
// and sorted: https://gist.github.com/roycewilliams/226886fd01572964e1431ac8afc999ce, by way of Django.
//
//go:embed common.txt.gz
var commonList []byte

// common is read when the first person chooses a password.
var common = sync.OnceValues(func() (map[string]bool, error) {
	r, err := gzip.NewReader(bytes.NewReader(commonList))
	if err != nil {
		return nil, err
	}
	list, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(list)) {
		known[strings.TrimSpace(line)] = true
	}
	return known, nil
})

// product is what people here think of first.
const product = "soundstrip"

// CheckEmail reports why an address will not do, as a [RuleError].
func CheckEmail(email string) error { return checkEmail(normalize(email)) }

// CheckChoice reports why a password will not do that a person chooses, as a [RuleError]: besides what no password may
// be, one that is common, or made of the address or of our name.
func CheckChoice(email, password string) error {
	email = normalize(email)
	if err := checkPassword(email, password); err != nil {
		return err
	}
	known, err := common()
	if err != nil {
		return fmt.Errorf("read the common passwords: %w", err)
	}
	lower := strings.ToLower(password)
	name, _, _ := strings.Cut(email, "@")
	bare := strings.TrimRight(lower, "0123456789!?.-_ ") // "Soundstrip2026!" is no better
	switch {
	case known[lower]:
		return RuleError("the password is one of the most common ones: choose another")
	case bare == name || bare == email || bare == product:
		return RuleError("the password is made of your address or of our name: choose another")
	}
	return nil
}
