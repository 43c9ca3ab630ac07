package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sethvargo/go-envconfig"
	"golang.org/x/term"

	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/api"
	"github.com/soundstrip/soundstrip/functions/internal/token"
)

const (
	loginUsage = `usage: soundstrip login [--url URL] EMAIL
       soundstrip login [--url URL] --key

Asks for the password and keeps the token for soundstrip send, where only you can read it. Without a terminal the
password is the first line of standard input. With --key it asks for an API key, and keeps that`
	logoutUsage = `usage: soundstrip logout [--url URL]

Forgets the token that soundstrip login keeps`
)

// defaultURL is where soundstrip itself listens.
const defaultURL = "http://127.0.0.1:8080"

// urlFlag adds --url, which SOUNDSTRIP_URL gives as well.
func urlFlag(f *flag.FlagSet, env envconfig.Lookuper) *string {
	def := defaultURL
	if v, _ := env.Lookup("SOUNDSTRIP_URL"); v != "" {
		def = v
	}
	return f.String("url", def, "`address` of the service; SOUNDSTRIP_URL gives it as well")
}

func runLogin(ctx context.Context, env envconfig.Lookuper, args []string) error {
	f := flag.NewFlagSet("login", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	at := urlFlag(f, env)
	key := f.Bool("key", false, "")
	if err := f.Parse(args); err != nil || (f.NArg() == 1) == *key || f.NArg() > 1 {
		return &serve.Exit{Code: exitUsage, Err: errors.New(loginUsage)}
	}
	c, err := api.New(*at, "")
	if err != nil {
		return usage("login", err)
	}
	fromStdin := !term.IsTerminal(int(os.Stdin.Fd()))
	prompt := "Password of " + f.Arg(0) + ": "
	if *key {
		prompt = "API key: "
	}
	password, err := askPassword(prompt, fromStdin, os.Stdin, os.Stderr)
	if err != nil {
		return fmt.Errorf("soundstrip login: %w", err)
	}
	if *key {
		if !strings.HasPrefix(password, token.KeyPrefix) {
			return usage("login", fmt.Errorf("this is no API key: one begins with %s", token.KeyPrefix))
		}
		return keepToken(*at, password)
	}
	given, err := c.Login(ctx, f.Arg(0), password)
	if err != nil {
		return sendError("soundstrip login", err)
	}
	return keepToken(*at, given)
}

func runLogout(env envconfig.Lookuper, args []string) error {
	f := flag.NewFlagSet("logout", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	at := urlFlag(f, env)
	if err := f.Parse(args); err != nil || f.NArg() != 0 {
		return &serve.Exit{Code: exitUsage, Err: errors.New(logoutUsage)}
	}
	return keepToken(*at, "")
}

// tokensFile is where the tokens are, by address of their service.
func tokensFile() (string, error) {
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "soundstrip", "tokens.json"), err
}

func readTokens() (map[string]string, error) {
	tokens := map[string]string{}
	path, err := tokensFile()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return tokens, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &tokens)
	}
	if err != nil {
		return nil, fmt.Errorf("tokens of soundstrip login: %w", err)
	}
	return tokens, nil
}

// keepToken keeps the token of a service, or forgets it when it is empty.
func keepToken(at, token string) error {
	tokens, err := readTokens()
	if err != nil {
		return err
	}
	at = strings.TrimSuffix(at, "/")
	tokens[at] = token
	if token == "" {
		delete(tokens, at)
	}
	b, err := json.MarshalIndent(tokens, "", "  ")
	if err != nil {
		return err
	}
	path, err := tokensFile()
	if err != nil {
		return err
	}
	return writePrivate(path, b)
}

// writePrivate replaces a file that only the user may read.
func writePrivate(path string, b []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".*") // with the mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
