// A whole life of a gallery through Azure's SDK for Go, api-version 2022-03-03.
//
//	SSL_CERT_FILE=ca.pem go run main.go https://127.0.0.1:8443
package main

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/Azure/azure-sdk-for-go/services/compute/mgmt/2022-03-03/compute"
	"github.com/Azure/azure-sdk-for-go/services/resources/mgmt/2021-01-01/resources"
	"github.com/Azure/go-autorest/autorest"
	"github.com/Azure/go-autorest/autorest/adal"
	"github.com/Azure/go-autorest/autorest/to"
)

const (
	subscription = "00000000-0000-0000-0000-000000000006"
	consumer     = "00000000-0000-0000-0000-000000000007"
	group        = "gogroup"
	gallery      = "gogallery"
	image        = "web"
)

var background = context.Background()

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func is(found, wanted interface{}) {
	if !reflect.DeepEqual(found, wanted) {
		panic(fmt.Sprintf("%v is not %v", found, wanted))
	}
}

// refused checks that a call is refused with this code, which the SDK wraps in several ways.
func refused(err error, code string) {
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("Code=%q", code)) {
		panic(fmt.Sprintf("%s was expected: %v", code, err))
	}
}

func text(of string) *string { return to.StringPtr(of) }

func main() {
	base := os.Args[1]
	authorizer := autorest.NewBearerAuthorizer(&adal.Token{AccessToken: "x"})
	groups := resources.NewGroupsClientWithBaseURI(base, subscription)
	galleries := compute.NewGalleriesClientWithBaseURI(base, subscription)
	images := compute.NewGalleryImagesClientWithBaseURI(base, subscription)
	versions := compute.NewGalleryImageVersionsClientWithBaseURI(base, subscription)
	sharing := compute.NewGallerySharingProfileClientWithBaseURI(base, subscription)
	shared := compute.NewSharedGalleriesClientWithBaseURI(base, consumer)
	for _, client := range []*autorest.Client{&groups.Client, &galleries.Client, &images.Client, &versions.Client, &sharing.Client, &shared.Client} {
		client.Authorizer = authorizer
	}

	// A gallery needs its group.
	plain := compute.Gallery{Location: text("westus"), GalleryProperties: &compute.GalleryProperties{Description: text("one")}}
	_, err := galleries.CreateOrUpdate(background, group, gallery, plain)
	refused(err, "ResourceGroupNotFound")
	_, err = groups.CreateOrUpdate(background, group, resources.Group{Location: text("westus")})
	must(err)
	making, err := galleries.CreateOrUpdate(background, group, gallery, plain)
	must(err)
	must(making.WaitForCompletionRef(background, galleries.Client))
	made, err := making.Result(galleries)
	must(err)
	is(made.ProvisioningState, compute.GalleryProvisioningStateSucceeded)
	is(*made.Description, "one")

	definition := compute.GalleryImage{Location: text("westus"), GalleryImageProperties: &compute.GalleryImageProperties{
		OsType: compute.OperatingSystemTypesLinux, OsState: compute.Generalized,
		HyperVGeneration: compute.V2,
		Identifier:       &compute.GalleryImageIdentifier{Publisher: text("a"), Offer: text("b"), Sku: text("c")},
	}}
	defining, err := images.CreateOrUpdate(background, group, gallery, image, definition)
	must(err)
	must(defining.WaitForCompletionRef(background, images.Client))
	defined, err := defining.Result(images)
	must(err)
	is(defined.HyperVGeneration, compute.V2)

	// A version, watched.
	golden := fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Compute/images/golden", subscription, group)
	version := compute.GalleryImageVersion{Location: text("westus"), GalleryImageVersionProperties: &compute.GalleryImageVersionProperties{
		StorageProfile: &compute.GalleryImageVersionStorageProfile{Source: &compute.GalleryArtifactVersionFullSource{ID: text(golden)}},
		PublishingProfile: &compute.GalleryImageVersionPublishingProfile{TargetRegions: &[]compute.TargetRegion{
			{Name: text("westus")}, {Name: text("eastus2"), RegionalReplicaCount: to.Int32Ptr(2), StorageAccountType: compute.StorageAccountTypeStandardZRS},
		}},
	}}
	publishing, err := versions.CreateOrUpdate(background, group, gallery, image, "1.0.0", version)
	must(err)
	must(publishing.WaitForCompletionRef(background, versions.Client))
	published, err := publishing.Result(versions)
	must(err)
	is(published.ProvisioningState, compute.GalleryProvisioningStateSucceeded)
	regions := *published.PublishingProfile.TargetRegions
	is([]string{*regions[0].Name, *regions[1].Name}, []string{"West US", "East US 2"})
	is(regions[1].StorageAccountType, compute.StorageAccountTypeStandardZRS)
	status, err := versions.Get(background, group, gallery, image, "1.0.0", compute.ReplicationStatusTypesReplicationStatus)
	must(err)
	is(status.ReplicationStatus.AggregatedState, compute.Completed)
	is(*(*status.ReplicationStatus.Summary)[1].Progress, int32(100))

	// A change of regions, and lists.
	more := compute.GalleryImageVersionUpdate{GalleryImageVersionProperties: &compute.GalleryImageVersionProperties{
		StorageProfile: &compute.GalleryImageVersionStorageProfile{},
		PublishingProfile: &compute.GalleryImageVersionPublishingProfile{TargetRegions: &[]compute.TargetRegion{
			{Name: text("westus"), RegionalReplicaCount: to.Int32Ptr(3)},
			{Name: text("eastus2"), StorageAccountType: compute.StorageAccountTypeStandardZRS}, {Name: text("northeurope")},
		}},
	}}
	updating, err := versions.Update(background, group, gallery, image, "1.0.0", more)
	must(err)
	must(updating.WaitForCompletionRef(background, versions.Client))
	updated, err := versions.Get(background, group, gallery, image, "1.0.0", "")
	must(err)
	is(len(*updated.PublishingProfile.TargetRegions), 3)
	list, err := versions.ListByGalleryImageComplete(background, group, gallery, image)
	must(err)
	is(*list.Value().Name, "1.0.0")
	_, err = versions.Get(background, group, gallery, image, "9.9.9", "")
	refused(err, "ResourceNotFound")

	// Shared with another subscription.
	groupsProfile := compute.GalleryUpdate{GalleryProperties: &compute.GalleryProperties{
		SharingProfile: &compute.SharingProfile{Permissions: compute.Groups}}}
	_, err = galleries.Update(background, group, gallery, groupsProfile)
	refused(err, "PropertyChangeNotAllowed")
	sharable := compute.Gallery{Location: text("westus"), GalleryProperties: groupsProfile.GalleryProperties}
	making, err = galleries.CreateOrUpdate(background, group, "goshared", sharable)
	must(err)
	must(making.WaitForCompletionRef(background, galleries.Client))
	change, err := sharing.Update(background, group, "goshared", compute.SharingUpdate{
		OperationType: compute.Add,
		Groups:        &[]compute.SharingProfileGroup{{Type: compute.Subscriptions, Ids: &[]string{consumer}}},
	})
	must(err)
	must(change.WaitForCompletionRef(background, sharing.Client))
	seen, err := shared.ListComplete(background, "westus", "")
	must(err)
	is(*seen.Value().Name, subscription+"-GOSHARED")

	// From the top, nothing with children goes; from below, all of it.
	_, err = galleries.Delete(background, group, gallery)
	refused(err, "CannotDeleteResource")
	gone, err := versions.Delete(background, group, gallery, image, "1.0.0")
	must(err)
	must(gone.WaitForCompletionRef(background, versions.Client))
	goneImage, err := images.Delete(background, group, gallery, image)
	must(err)
	must(goneImage.WaitForCompletionRef(background, images.Client))
	for _, name := range []string{gallery, "goshared"} {
		goneGallery, err := galleries.Delete(background, group, name)
		must(err)
		must(goneGallery.WaitForCompletionRef(background, galleries.Client))
	}
	left, err := galleries.ListComplete(background)
	must(err)
	is(left.NotDone(), false)
	fmt.Println("ok")
}
