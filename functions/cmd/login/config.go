package main

import (
	"context"
	"errors"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/account"
	"github.com/soundstrip/soundstrip/functions/internal/token"
	"github.com/soundstrip/soundstrip/functions/login"
)

type config struct {
	Serve   serve.Config
	Account account.Config
	Token   token.SignerConfig
	Login   login.Config
}

// Validate asks for the server, which is optional where all runs in one process.
func (c *config) Validate() error {
	if c.Account.Host == "" {
		return errors.New("MYSQL_HOST is not set")
	}
	return nil
}

func (c *config) users(ctx context.Context) (*account.Store, func(context.Context) error, error) {
	db, err := account.Open(c.Account)
	if err != nil {
		return nil, nil, err
	}
	users, err := account.NewMySQL(ctx, db)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	users.LeavePlain = !c.Account.Rehash
	return users, func(context.Context) error { return db.Close() }, nil
}
