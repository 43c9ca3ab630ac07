package main

import (
	"context"
	"errors"

	"github.com/soundstrip/soundstrip/eventing"
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

// events gives the way to the broker, where there is one.
func (c *config) events() login.Sender {
	if c.Login.Sink == "" {
		return nil
	}
	return eventing.SinkConfig{URL: c.Login.Sink, Secret: c.Login.EventSecret}.Sender()
}

// Validate asks for the server, which is optional where all runs in one process.
func (c *config) Validate() error {
	var errs []error
	if c.Account.Host == "" {
		errs = append(errs, errors.New("MYSQL_HOST is not set"))
	}
	if c.Login.SignUp == "open" && c.Login.Confirm && c.Login.Sink == "" {
		errs = append(errs, errors.New(
			"K_SINK is not set: with LOGIN_SIGNUP=open people get a mail, unless LOGIN_CONFIRM=false"))
	}
	return errors.Join(errs...)
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
