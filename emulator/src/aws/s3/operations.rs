//! Which S3 operations are emulated, and where each is done. All others answer NotImplemented, which
//! `s3s` gives by default.

use s3s::{S3, S3Request, S3Response, S3Result, dto};

use super::ObjectStore;

macro_rules! operations {
    ($($operation:ident($input:ident) -> $output:ident = $method:ident;)*) => {
        #[async_trait::async_trait]
        impl S3 for ObjectStore {
            $(async fn $operation(
                &self,
                request: S3Request<dto::$input>,
            ) -> S3Result<S3Response<dto::$output>> {
                self.$method(request).await
            })*
        }
    };
}

operations! {
    create_bucket(CreateBucketInput) -> CreateBucketOutput = make_bucket;
    delete_bucket(DeleteBucketInput) -> DeleteBucketOutput = remove_bucket;
    head_bucket(HeadBucketInput) -> HeadBucketOutput = bucket_exists;
    list_buckets(ListBucketsInput) -> ListBucketsOutput = buckets;
    get_bucket_location(GetBucketLocationInput) -> GetBucketLocationOutput = location;
    put_bucket_versioning(PutBucketVersioningInput) -> PutBucketVersioningOutput = set_versioning;
    get_bucket_versioning(GetBucketVersioningInput) -> GetBucketVersioningOutput = versioning;
    put_object(PutObjectInput) -> PutObjectOutput = put;
    get_object(GetObjectInput) -> GetObjectOutput = get;
    head_object(HeadObjectInput) -> HeadObjectOutput = head;
    copy_object(CopyObjectInput) -> CopyObjectOutput = copy;
    delete_object(DeleteObjectInput) -> DeleteObjectOutput = delete;
    delete_objects(DeleteObjectsInput) -> DeleteObjectsOutput = delete_many;
    list_objects(ListObjectsInput) -> ListObjectsOutput = list_old;
    list_objects_v2(ListObjectsV2Input) -> ListObjectsV2Output = list;
    list_object_versions(ListObjectVersionsInput) -> ListObjectVersionsOutput = list_versions;
    get_object_tagging(GetObjectTaggingInput) -> GetObjectTaggingOutput = tags;
    put_object_tagging(PutObjectTaggingInput) -> PutObjectTaggingOutput = set_tags;
    delete_object_tagging(DeleteObjectTaggingInput) -> DeleteObjectTaggingOutput = remove_tags;
    create_multipart_upload(CreateMultipartUploadInput) -> CreateMultipartUploadOutput = create_upload;
    upload_part(UploadPartInput) -> UploadPartOutput = put_part;
    complete_multipart_upload(CompleteMultipartUploadInput) -> CompleteMultipartUploadOutput = complete_upload;
    abort_multipart_upload(AbortMultipartUploadInput) -> AbortMultipartUploadOutput = abort_upload;
    list_parts(ListPartsInput) -> ListPartsOutput = list_parts_of;
    list_multipart_uploads(ListMultipartUploadsInput) -> ListMultipartUploadsOutput = list_uploads;
}
