package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/account"
)

// userConfig says where the users are.
type userConfig struct {
	Data    string `env:"SOUNDSTRIP_DATA, default=.soundstrip"`
	Account account.Config
}

func runUser(ctx context.Context, env envconfig.Lookuper, args []string) (err error) {
	var c userConfig
	if err := serve.Load(ctx, env, &c); err != nil {
		return err
	}
	f, err := openFolder(c.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.db.Close()) }()
	users, closeUsers, err := f.accounts(ctx, c.Account)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeUsers(ctx)) }()
	return account.Command(ctx, users, args, os.Stdin, os.Stdout)
}

// firstUser makes the first user of an empty store: an admin, with the name and password given or made up. Only a password
// made up here is printed, and only now: nobody could know it otherwise.
func firstUser(ctx context.Context, users *account.Store, email, password string) error {
	n, err := users.Count(ctx)
	if err != nil || n > 0 {
		return err
	}
	if email == "" {
		email = "admin@localhost"
	}
	made := password == ""
	if made {
		password = rand.Text()
	}
	if err := users.Create(ctx, email, password, true); err != nil {
		return fmt.Errorf("first user %s: %w", email, err)
	}
	if made {
		fmt.Printf("\nThe first user, printed this once:  %s:%s\n\n", email, password)
	}
	return nil
}
