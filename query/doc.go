// Package query answers people and programs: the HTTP API over the tiers, the list of alerts, the
// live stream of server-sent events, and the page (subpackage web). docs/api.md describes the API
// for its users.
//
// Contract: it reads and never writes. Windows come from a sinks.TierStore; alerts and live windows
// come straight from the topics (Live), without a consumer group, so that any number of instances
// may run. Every input is bounded; a bad one gets a 400 that names the parameter, its value and the
// bound. A slow reader of the live stream is cut off and counted, and slows nobody else.
//
// Labels, annotations and metric names are hostile input: answers are JSON made by encoding/json,
// and the page writes them as text only.
//
// Times are milliseconds since the Unix epoch (ms) unless a name says otherwise.
package query
