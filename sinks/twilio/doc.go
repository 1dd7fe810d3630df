// Package twilio tells alerts to a phone by SMS, through Twilio's API of 2010.
//
// Contract: one message to one number per Notify and no retry; a list of numbers is one receiver
// for each, so that each has its own entry in the delivery ledger and a retry reaches only those
// not reached yet. 201 with a message's sid is success. Every error is a *sinks.DeliveryError; none
// contains the token.
//
// Messages take no idempotency key. After a 429 Twilio has not sent, and a retry is safe; after a
// timeout or a 5xx nobody knows. weir retries these too, as a page that comes twice is better than
// one that does not come: SMS are at-least-once.
package twilio
