// Package webhook tells alerts to a URL with Alertmanager's payload, version 4,
// field for field, so that what was written for Alertmanager takes weir's alerts.
//
// Contract: one POST per Notify and no retry; one alert per payload, in a group of
// its own, as with Alertmanager's group_by: ['...']. Any 2xx is success. Every
// error is a *sinks.DeliveryError. The URL and the token are in no error, since
// the paths of many webhooks are their password.
package webhook
