package main

import (
	"errors"

	"github.com/soundstrip/soundstrip/eventing"
	"github.com/soundstrip/soundstrip/eventing/serve"
	"github.com/soundstrip/soundstrip/functions/internal/mail"
	"github.com/soundstrip/soundstrip/functions/internal/mongodb"
	"github.com/soundstrip/soundstrip/functions/notify"
)

type config struct {
	Serve   serve.Config
	MongoDB mongodb.Config
	Notify  notify.Config
	Mail    mail.Config
	Webhook notify.WebhookConfig
	Events  eventing.SourceConfig
}

// Validate reports that there is no channel.
func (c *config) Validate() error {
	if c.Mail.Host == "" && c.Webhook.URL == "" {
		return errors.New("SMTP_HOST: is not set, and neither is WEBHOOK_URL: there must be a way to tell people")
	}
	return nil
}

// channels are those that are configured.
func (c *config) channels() ([]notify.Channel, error) {
	var all []notify.Channel
	if c.Mail.Host != "" {
		post, err := mail.NewSMTP(c.Mail)
		if err != nil {
			return nil, err
		}
		all = append(all, notify.Email(post))
	}
	if c.Webhook.URL != "" {
		all = append(all, notify.Webhook(c.Webhook, nil))
	}
	return append(all, notify.JobWebhook(c.Webhook, nil)), nil
}
