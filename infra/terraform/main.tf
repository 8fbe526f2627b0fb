# The bucket, and a role that may use it and nothing else. ../cloudformation/storage.yaml makes the same.
terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

variable "bucket" {
  description = "Name of the bucket, unique in the world."
  type        = string
}

variable "trusted_service" {
  description = "Who takes the role: machines of `ray up`. For EKS see ../README.md."
  type        = string
  default     = "ec2.amazonaws.com"
}

resource "aws_s3_bucket" "store" {
  bucket = var.bucket
}

resource "aws_s3_bucket_public_access_block" "store" {
  bucket                  = aws_s3_bucket.store.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "store" {
  bucket = aws_s3_bucket.store.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "store" {
  bucket = aws_s3_bucket.store.id

  # Parts of uploads that were never finished are invisible and are paid for.
  rule {
    id     = "abort-uploads"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 3
    }
  }
}

data "aws_iam_policy_document" "tls_only" {
  statement {
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.store.arn, "${aws_s3_bucket.store.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "store" {
  bucket = aws_s3_bucket.store.id
  policy = data.aws_iam_policy_document.tls_only.json
}

data "aws_iam_policy_document" "use" {
  statement {
    actions   = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
    resources = [aws_s3_bucket.store.arn]
  }

  statement {
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = ["${aws_s3_bucket.store.arn}/*"]
  }
}

resource "aws_iam_policy" "use" {
  name   = "cgnet-store"
  policy = data.aws_iam_policy_document.use.json
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = [var.trusted_service]
    }
  }
}

resource "aws_iam_role" "cgnet" {
  name               = "cgnet"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy_attachment" "use" {
  role       = aws_iam_role.cgnet.name
  policy_arn = aws_iam_policy.use.arn
}

resource "aws_iam_instance_profile" "cgnet" {
  name = "cgnet"
  role = aws_iam_role.cgnet.name
}

output "store" {
  description = "What --store takes."
  value       = "s3://${aws_s3_bucket.store.id}"
}

output "instance_profile_arn" {
  description = "For ../ray-up/aws.yaml."
  value       = aws_iam_instance_profile.cgnet.arn
}

output "policy_arn" {
  description = "What a role of EKS needs."
  value       = aws_iam_policy.use.arn
}
