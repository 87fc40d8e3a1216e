package extractor_test

import (
	"fmt"

	"github.com/leverstream/leverstream/extractor"
)

// The catalogue says what each table is and where its rows come from.
func ExampleTables() {
	for _, t := range extractor.Tables() {
		if t.Parent == "opportunities" {
			fmt.Println(t.Name, t.Key, t.Endpoint)
		}
	}
	// Output:
	// opportunity_applications id /opportunities?expand=applications
	// opportunity_offers id /opportunities/:id/offers
	// opportunity_referrals id /opportunities/:id/referrals
	// opportunity_resumes id /opportunities/:id/resumes
}
