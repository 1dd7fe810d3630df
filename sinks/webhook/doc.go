// Package webhook tells alerts to a URL with Alertmanager's payload, version 4, field for field, so
// that programs written for Alertmanager accept weir's alerts.
//
// Contract: one POST per Notify and no retry; one alert per payload, in a group of its own, as with
// Alertmanager's group_by: ['...']. Any 2xx is success. Every error is a *sinks.DeliveryError. No
// error contains the URL or the token, since the paths of many webhooks are their password.
package webhook
