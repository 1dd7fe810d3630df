package schemas

// Member is a process of weir, as it announces itself in the topic members, under its instance id.
// A record without a value announces that it stops.
type Member struct {
	Instance  string `json:"instance"`   // its member id in consumer groups
	Address   string `json:"address"`    // host:port, at which the others reach its HTTP server
	StartedMS int64  `json:"started_ms"` // wall clock, ms; tells its lives apart
}
