"""Other programs' names of keys, options and values, and mlpipe's replacements.

The words are those of timm, fastai, Ultralytics, Lightning, Keras, AutoGluon, scikit-learn, torchvision and the trainer
of transformers. They are looked up only after an error, ignoring case, `-` and `_`.

An entry is the text to write, with `{}` for the given value, optionally followed by a comma and a comment; or pairs of
a regular expression for the whole value and the text to write, with `{1}`, `{2}` for its groups, of which the first
match counts. An entry that begins with `leave it out` says why nothing is to be written.
"""

from __future__ import annotations

Entry = str | tuple[tuple[str, str], ...]

_YES, _NO = "true|1|yes|on", "false|0|no|off|none|null"
_ANY = ".*"
_TASK: Entry = (
    (r"[^/.]*[^/.\d][^/.]*", "task={}"),
    (r".*\.(?:csv|tsv|parquet)", "task=csv task.file={}"),
    (r".*\.(?:npz|npy)", "task=arrays task.file={}"),
    (r"\d\d+", "preprocessing.size={}"),
    (_ANY, "task=folder task.root={}"),
)
_SIZE: Entry = (
    (r"[\[(]?(\d+) *[x×, ] *(\d+)[\])]?", "preprocessing.size=[{1},{2}]"),
    (r"[\[(]?(\d+) *[x×, ] *(\d+) *[x×, ] *[134][\])]?", "preprocessing.size=[{1},{2}]"),
    (_ANY, "preprocessing.size={}"),
)
_HOLDOUT = "split=holdout split.val_fraction={} mode.nested=false"
_VALIDATION: Entry = (
    (r"0*\.\d+", _HOLDOUT),
    (r"([1-9]|[1-4]\d)(?:\.0)?%?", "split=holdout split.val_fraction=0.{1:0>2} mode.nested=false"),
    (_ANY, "split=holdout split.val_fraction=0.2 mode.nested=false"),
)
_FOLDS: Entry = (
    (r"\[.*", "mode.folds={}"),
    (f"1|{_NO}", "split=holdout mode.nested=false, which draws one validation part"),
    (_YES, "split=kfold split.folds=5"),
    (r"\d+", "split=kfold split.folds={}"),
    (_ANY, "split={}"),
)
_FOLD: Entry = ((r"\[.*|\d+", "mode.folds=[{}]"), (_ANY, "task=csv task.fold={}"))
# One fold, for the modes that use a single one.
_ONE_FOLD: Entry = ((r"\[? *(\d+).*", "mode.fold={1}"), (_ANY, "mode.fold=0"))
_GPU: Entry = (
    (f"cpu|-1|{_NO}".replace("|0", ""), "trainer.accelerator=cpu"),
    (r"(?:cuda:)?(\d+)", "trainer.accelerator=gpu, with CUDA_VISIBLE_DEVICES={1} in front of mml"),
    (r"\[? *\d+ *\]?", "trainer.accelerator=gpu"),
    (r"\[? *\d+(?: *, *\d+)+ *\]?", "trainer.devices=auto, with the numbers in CUDA_VISIBLE_DEVICES"),
    (r"true|yes|on|nvidia", "trainer.accelerator=gpu"),
    (_ANY, "trainer.accelerator={}"),
)
_GPUS: Entry = (
    (f"{_NO}|cpu", "trainer.accelerator=cpu"),
    (r"-1|all|auto", "trainer.devices=auto"),
    (r"\[ *\d+ *\]", "trainer.devices=1"),
    (r"\[? *\d+ *, *\d+ *\]?", "trainer.devices=2"),
    (_ANY, "trainer.devices={}"),
)
_WORKERS: Entry = (("-1", "sys.num_workers=auto"), (_ANY, "sys.num_workers={}"))
_HALF: Entry = ((_NO, "trainer.precision=32-true"), (_ANY, "trainer.precision=16-mixed"))
_MIXED: Entry = (
    (_NO, "trainer.precision=32-true"),
    (_YES, "trainer.precision=16-mixed"),
    (_ANY, "trainer.precision={}"),
)
_AUGMENT: Entry = ((_YES, "augmentations=default"), (_NO, "augmentations=none"), (_ANY, "augmentations={}"))
_WEIGHTS: Entry = (
    (rf"{_YES}|default|imagenet.*|pretrained|.*weights\..*", "arch.pretrained=true"),
    (f"{_NO}|random|scratch", "arch.pretrained=false"),
    (_ANY, "arch.weights={}"),
)
_RESUME: Entry = (
    (f"{_YES}|must|allow|auto|last|latest|best", "continue=latest"),
    (_NO, "leave it out: a new run begins unless continue=latest says otherwise"),
    (r".*\.(?:pt|pth|ckpt|safetensors)", "arch.weights={}"),
    (_ANY, "continue={}"),
)
_STOP: Entry = (
    (f"{_NO}", "cbs=none, which stops nothing early"),
    (r"\d+", "cbs=early cbs.early.patience={}"),
    (_ANY, "cbs=early"),
)
_FREEZE: Entry = (
    (_NO, "arch.freeze=false"),
    (r"\d+", "arch.freeze=true, or the number of last stages that learn, such as arch.freeze=1"),
    (_ANY, "arch.freeze=true"),
)
_BLEND: dict[str, Entry] = {
    name: ((rf"{_NO}|0\.0+", "augmentations=default"), (_ANY, f"augmentations={name}"))
    for name in ("mixup", "cutmix", "erasing")
}
_MONITOR: Entry = (
    (r"(?:val|valid|validation|eval)[_/](\w+)", "metrics.monitor=val/{1}"),
    (r"\w+", "metrics.monitor=val/{}"),
    (_ANY, "metrics.monitor={}"),
)
_SEEN_TO = "leave it out: mlpipe sees to it"
_LOGGED = "leave it out: the terminal shows what matters, and the run's log.txt has everything"
_PARTS = "mode.subroutines=[train,predict,test]"
_SPLIT_FOLDERS = "task=folder task.root=DIR, a folder with train, val and test in it"
_FLIP: Entry = ((_NO, "augmentations=none"), (_ANY, "augmentations=default, which flips left and right"))
_COLOURS = "augmentations=v2 or augmentations=randaugment, which have it"
_COVERAGE: Entry = (
    (r"0?\.90*|90%?", "mode.alpha=0.1, the share of images whose set may miss the true class"),
    (r"0?\.950*|95%?", "mode.alpha=0.05, the share of images whose set may miss the true class"),
    (r"0?\.990*|99%?", "mode.alpha=0.01, the share of images whose set may miss the true class"),
    (_ANY, "mode.alpha=0.1 for sets that hold the true class of 90 % of the images"),
)
_OUT = "out_dir={}"
_SOURCE = "mode.source={}"
_TABLE_OF_PREDICTIONS = "leave it out: the table is written below out_dir/proj/reports/predictions, and mml says where"
_MODELS: Entry = (
    (
        r".*\.(?:pt|pth|ckpt|safetensors|h5|keras|onnx)",
        "proj=NAME, the project that the model was trained in; a file of weights is judged by mml evaluate arch.weights={}",
    ),
    (r".*[/#.].*", "reuse.models={}, a project or one record of it such as PROJ#3"),
    (r"\d+", "proj=NAME, the project that the models were trained in; mml serve and mml export take mode.record={}"),
    (_ANY, "proj={}, the project that the models were trained in"),
)

# Words whose entry applies even if the composed configuration has a key of that name elsewhere.
RATHER = frozenset(
    {"folds", "cv", "freeze", "fold", "resize", "train", "weights", "test", "val", "name", "output", "compile", "tune"}
)

_SAME: dict[str, tuple[Entry, str]] = {
    "epochs": (
        "trainer.max_epochs={}",
        "e epochs max_epochs n_epochs num_epochs nb_epochs nb_epoch epoch n_epoch num_train_epochs total_epochs"
        " train_epochs"
        " max_epoch n_iter max_iter iterations iters num_iters total_epoch end_epoch",
    ),
    "steps": (
        "trainer.max_steps={}",
        "max_steps num_train_steps max_train_steps num_steps total_steps train_steps n_steps steps",
    ),
    "rate": (
        "optimizer.lr={}",
        "l lr learning_rate lr0 init_lr initial_lr initial_learning_rate base_lr lr_max max_lr peak_lr"
        " learning_rate_init eta"
        " eta0 step_length learn_rate lrate lr_init lr_head base_learning_rate",
    ),
    "least rate": (
        "lr_scheduler.min_ratio={}, the last rate as a share of optimizer.lr",
        "lrf min_lr eta_min end_lr lr_min final_lr warmup_lr_final min_learning_rate lr_end",
    ),
    "batch": (
        (("-1|auto|null|none", "tune=batch_size"), (_ANY, "sampling.batch_size={}")),
        "bs batch_size train_batch batch batches per_device_train_batch_size train_batch_size per_gpu_batch_size mini_batch_size"
        " minibatch_size samples_per_gpu train_bs batch_size_train per_device_batch_size global_batch_size b",
    ),
    "batch in evaluation": (
        "sampling.eval_batch_size={}",
        "val_batch_size eval_batch_size per_device_eval_batch_size test_batch_size valid_batch_size val_bs vbs eval_bs"
        " validation_batch_size batch_size_val inference_batch_size predict_batch_size",
    ),
    "size": (
        _SIZE,
        "imgsz img_size image_size size input_size img_sz resolution img_resolution sz target_size input_shape"
        " image_shape"
        " img_dim image_dim res train_crop_size height width image_height image_width input_resolution"
        " img_height img_width"
        " crop_size image_resolution imsize im_size input_dim shape item_tfms resize_to val_resize_size train_size",
    ),
    "resize": (((r"[\d\[(].*", "preprocessing.size={}"), (_ANY, "preprocessing.resize={}")), "resize"
    " resize_mode resize_method"),
    "interpolation": ("preprocessing.interpolation={}", "interpolation resample resampling"),
    "normalization": (
        "augmentations.normalization={}",
        "normalize normalise normalization normalisation norm rescale scaling",
    ),
    "mean": ("leave it out: images are normalised as the network was made for (augmentations.normalization)",
        "mean std img_mean img_std"),
    "device": (_GPU, "device gpu gpu_id gpu_ids accelerator cuda use_cuda use_gpu cuda_device device_type device_id"),
    "no gpu": (((_NO, "trainer.accelerator=gpu"), (_ANY, "trainer.accelerator=cpu")), "no_cuda cpu use_cpu"
    " cpu_only no_gpu"),
    "devices": (_GPUS, "g gpus devices num_gpus n_gpus ngpu n_gpu num_devices nproc_per_node world_size ngpus"
    " nproc gpu_count"),
    "workers": (
        _WORKERS,
        "j workers num_workers n_jobs nworkers n_workers dataloader_num_workers jobs njobs data_workers"
        " loader_workers num_proc"
        " worker dataloader_workers num_loader_workers",
    ),
    "threads": ("sys.threads={}", "threads n_threads num_threads nthreads torch_threads omp_num_threads cpu_threads"
        " num_cpus ncpus cores"),
    "parallel": ("sys.fold_workers={}", "parallel n_parallel fold_workers num_parallel max_workers concurrency"),
    "task": (
        _TASK,
        "d data dataset datasets root dataset_name dataset_path data_path data_root dataset_dir data_folder image_dir"
        " img_dir images_dir image_folder image_path img_path images_path images image img input inputs"
        " input_dir input_path"
        " input_folder train_dir train_path train_data traindir train_root training_data train_folder path folder dir"
        " directory root_dir rootdir imagefolder img_folder image_root train_dataset train_images source src"
        " data_source"
        " dataset_root files file filename datadir dataroot datapath in_dir indir trainset train_set x x_train photos"
        " pictures image_directory tasks",
    ),
    "validation folder": (
        _SPLIT_FOLDERS,
        "val_dir valid_dir validation_dir val_path val_data validation_data val_root test_dir test_path"
        " test_data valdir"
        " testdir val_folder test_folder valid_data tuning_data val_dataset eval_dataset test_dataset validation_path",
    ),
    "table": (
        "task=csv task.file={}",
        "csv csv_path csv_file train_csv labels_csv table dataframe df annotations label_file annotation_file"
        " labels_file"
        " metadata annotation_path csv_name train_df tsv labels_path label_csv",
    ),
    "target": (
        "task=csv task.target={}",
        "target label label_col label_column target_column y y_col class_column target_col label_name labels"
        " dep_var class_col"
        " category outcome",
    ),
    "column of paths": ("task=csv task.path={}", "path_col fn_col image_column x_col image_col path_column"
        " filename_column fname_col"),
    "group": ("task=csv task.group={}", "group groups group_col group_column patient patient_id patient_col subject"
        " subject_id group_by site"),
    "weights of samples": ("task=csv task.weight={}", "sample_weight sample_weights weight_column weight_col"),
    "split column": ("task=csv task.split={}", "split_col split_column valid_col is_valid_col subset_col"),
    "kind": (
        "task=csv task.kind={}",
        "task_type problem_type task_kind objective_type problem learning_task target_type",
    ),
    "separator": ("task=csv task.separator={}", "label_delim delimiter sep separator label_separator"),
    "classes": (
        "leave it out: the task's images or rows say how many classes there are",
        "num_classes n_classes nc nclasses num_labels n_class num_class class_num output_dim out_features n_out"
        " num_outputs classes class_names classnames class_list label_names label_mode class_mode",
    ),
    "channels": ("arch.in_chans={}", "in_channels in_chans ch num_channels input_channels n_channels in_ch"
        " num_input_channels"),
    "colours": (
        ((r"gr[ae]y.*|l|1", "arch.in_chans=1"), (_ANY, "leave it out: images are read in the colours that they have")),
        "color_mode colour_mode image_mode",
    ),
    "grey": (
        (("false|0|no|off", "arch.in_chans=3"), (_ANY, "arch.in_chans=1")),
        "grayscale greyscale gray grey to_gray to_grayscale",
    ),
    "unreadable": ("task.max_unreadable={}", "max_unreadable unreadable skip_corrupt ignore_errors max_errors"
        " max_corrupt skip_errors"),
    "network": (
        (
            (r".*\.(?:pt|pth|ckpt|safetensors)", "arch.weights={}"),
            (r".*\.(?:json|h5|keras)", "arch=keras_json arch.file={}"),
            (_ANY, "arch={}"),
        ),
        "model backbone architecture network net encoder base_model model_name model_type timm_model arch_name"
        " model_arch"
        " backbone_name encoder_name model_id nn architectures models hub_model base feature_extractor a cnn",
    ),
    "pretrained": (
        ((_YES, "arch.pretrained=true"), (_NO, "arch.pretrained=false"), (r".*[/.].*", "arch.weights={}"), (_ANY,
            "arch.pretrained={}")),
        "pretrained use_pretrained imagenet pretrain pretrained_weights transfer_learning pretrained_backbone"
        " pre_trained",
    ),
    "scratch": ("arch.pretrained=false", "from_scratch scratch train_from_scratch"),
    "weights": (
        _WEIGHTS,
        "w weights checkpoint ckpt checkpoint_path ckpt_path load_from load init_weights initial_checkpoint weights_path"
        " weight_file weights_file model_path load_weights load_model state_dict model_weights init_from start_from"
        " load_checkpoint from_pretrained model_file checkpoint_file weight",
    ),
    "resume": (
        _RESUME,
        "r resume resume_from resume_from_checkpoint auto_resume continue_training restart resume_training resume_run"
        " resume_path go_on cont resume_ckpt",
    ),
    "dropout": ("arch.drop_rate={}", "dropout drop p_drop dropout_rate head_dropout drop_prob dropout_p ps"
        " dropout_prob hidden_dropout"),
    "drop path": ("arch.drop_path_rate={}", "drop_path stochastic_depth drop_path_rate sd_prob stochastic_depth_prob"),
    "freeze": (
        _FREEZE,
        "freeze freeze_backbone frozen freeze_layers freeze_encoder freeze_base freeze_body freeze_features"
        " linear_probe"
        " linear_probing freeze_model freeze_bn frozen_stages feature_extract",
    ),
    "learns": (((_NO, "arch.freeze=true"), (_ANY, "arch.freeze=false")), "trainable unfreeze train_backbone"
    " finetune_backbone full_finetune"),
    "frozen epochs": ("stages=freeze_then_finetune stages.head_epochs={}",
        "freeze_epochs freeze_epoch head_epochs frozen_epochs"),
    "fine-tuning": ("stages=freeze_then_finetune", "fine_tune finetune fine_tuning finetuning gradual_unfreezing"),
    "pool": ("arch.pool={}", "global_pool pooling gp pool_type pool"),
    "adapters": ("peft=lora", "lora use_lora peft_type adapter lora_r lora_rank"),
    "compile": (((_NO, "compile=none"), (_ANY, "compile=default")), "torch_compile torchcompile compile_model"
    " use_compile jit torchscript"),
    "optimizer": ("optimizer={}", "opt optim optimiser optimizer_name opt_func optim_name optimizer_type opt_name"
        " optimizers solver optim_type"),
    "momentum": ("optimizer=sgd optimizer.momentum={}", "momentum mom sgd_momentum"),
    "nesterov": ("optimizer=sgd optimizer.nesterov={}", "nesterov use_nesterov"),
    "decay": (
        "optimizer.weight_decay={}",
        "weight_decay wd decay l2 l2_reg wdecay l2_regularization weight_decay_rate regularization alpha_l2"
        " l2_penalty reg l2_decay",
    ),
    "betas": ("optimizer.betas=[{},0.999]", "beta1 adam_beta1 beta_1"),
    "second beta": ("optimizer.betas=[0.9,{}]", "beta2 adam_beta2 beta_2"),
    "both betas": ("optimizer.betas={}", "betas adam_betas opt_betas"),
    "eps": ("optimizer.eps={}", "eps epsilon adam_epsilon opt_eps adam_eps"),
    "clip": (
        ((_NO, "optimizer.clip_norm=null"), (_YES, "optimizer.clip_norm=1.0"), (_ANY, "optimizer.clip_norm={}")),
        "grad_clip clip gradient_clip_val clip_grad max_grad_norm gradient_clip grad_norm clip_grad_norm clipnorm"
        " gradient_clipping grad_clip_norm global_clipnorm clip_norm grad_clip_val gradient_clip_norm clip_gradients",
    ),
    "clip values": ("optimizer.clip_value={}", "clipvalue clip_value grad_clip_value gradient_clip_value"),
    "accumulation": (
        "trainer.accumulate_grad_batches={}",
        "accumulate accumulate_grad_batches gradient_accumulation_steps grad_accum accum_iter accum_steps"
        " grad_accumulation gradient_accumulation accumulation_steps update_freq iters_to_accumulate accum"
        " grad_accum_steps"
        " accumulate_steps grad_acc accumulation acc_steps n_acc",
    ),
    "layer decay": ("optimizer.layer_decay={}", "layer_decay llrd layerwise_lr_decay layer_wise_decay lr_layer_decay"
        " discriminative_lr"),
    "schedule": (
        ((_NO, "lr_scheduler=none"), (_YES, "lr_scheduler=cosine"), (_ANY, "lr_scheduler={}")),
        "scheduler sched lrs lr_sched lr_schedule schedule lr_policy lr_scheduler_type scheduler_type lr_decay_type"
        " scheduler_name lr_schedule_type lr_scheduler_name learning_rate_schedule schedulers lr_strategy lrscheduler",
    ),
    "cosine": (((_NO, "lr_scheduler=none"), (_ANY, "lr_scheduler=cosine")), "cos_lr cosine cosine_lr"
    " cosine_annealing use_cosine"),
    "one cycle": ("lr_scheduler=one_cycle", "one_cycle onecycle fit_one_cycle use_one_cycle"),
    "warm-up": (
        ((_NO.replace("|0", ""), "lr_scheduler.warmup_epochs=0"), (_YES.replace("|1", ""),
            "lr_scheduler.warmup_epochs=1"), (_ANY, "lr_scheduler.warmup_epochs={}")),
        "warmup warmup_epochs warmup_epoch num_warmup_epochs warm_up warmup_epochs_num lr_warmup_epochs warm_up_epochs",
    ),
    "warm-up in steps": (
        "lr_scheduler.warmup_epochs=N, the length of the warm-up in epochs",
        "warmup_steps num_warmup_steps warmup_iters warmup_ratio warmup_proportion lr_warmup_steps warmup_fraction",
    ),
    "first rate": (
        "leave it out: a warm-up begins near 0 and ends at optimizer.lr",
        "warmup_lr warmup_lr_init warmup_start_lr warmup_init_lr warmup_bias_lr warmup_start_factor warmup_momentum",
    ),
    "length of a schedule": (
        "leave it out: a schedule is as long as the training",
        "t_max num_training_steps total_iters total_iter",
    ),
    "least share": ("lr_scheduler.min_ratio={}", "min_ratio min_lr_ratio lr_min_ratio"),
    "gamma": ("lr_scheduler=step lr_scheduler.gamma={}", "gamma lr_decay lr_gamma decay_rate lr_decay_rate"
        " learning_rate_decay lr_factor"),
    "step": ("lr_scheduler=step lr_scheduler.step_epochs={}",
        "step_size lr_step_size decay_epochs lr_step step_epochs lr_decay_epochs lr_step_epochs drop_every"),
    "milestones": ("lr_scheduler=multistep lr_scheduler.milestones={}",
        "milestones lr_milestones decay_milestones lr_steps"),
    "plateau": ("lr_scheduler=plateau lr_scheduler.patience={}",
        "patience_epochs lr_patience plateau_patience reduce_lr_patience scheduler_patience patience_lr"),
    "restart": ("lr_scheduler=cosine_restart lr_scheduler.period_epochs={}",
        "t_0 t0 first_cycle cycle_length cycle_len period_epochs"),
    "up": ("lr_scheduler=one_cycle lr_scheduler.pct_start={}", "pct_start div pct_up"),
    "loss": (
        "loss={}",
        "criterion objective loss_fn loss_func loss_function crit loss_name loss_type lossfunc losses cost"
        " cost_function criterion_name",
    ),
    "label smoothing": (
        ((_YES.replace("|1", ""), "loss.label_smoothing=0.1"), (_ANY, "loss.label_smoothing={}")),
        "label_smoothing smoothing ls labelsmooth label_smooth smooth label_smoothing_factor smoothing_factor",
    ),
    "class weights": (
        ((f"{_YES}|balanced?|auto", "loss.class_weights=balanced"), (_NO, "loss.class_weights=null"), (_ANY,
            "loss.class_weights={}")),
        "class_weight class_weights weighted balanced_loss weighted_loss balance_classes use_class_weights loss_weights"
        " weight_classes cls_weights loss_weight reweight",
    ),
    "binary loss": ("loss=bce", "bce_loss use_bce bce"),
    "weight of positives": ("loss=bce loss.pos_weight={}", "pos_weight scale_pos_weight positive_weight"),
    "focal": ("loss=focal loss.gamma={}", "focal_gamma fl_gamma"),
    "focal loss": ("loss=focal", "focal use_focal focal_loss use_focal_loss"),
    "augmentation": (
        _AUGMENT,
        "aug augment augmentation transforms transform data_augmentation augs aug_type batch_tfms tfms aug_transforms"
        " do_augment use_augmentation train_transform augmenter random_augment data_aug train_aug"
        " train_transforms augmentation_type"
        " augmentation_policy aug_policy",
    ),
    "random augmentation": (
        ((_NO, "augmentations=default"), (_ANY, "augmentations=randaugment")),
        "auto_augment autoaugment aa rand_augment randaug randaugment ra ra_magnitude randaugment_magnitude"
        " augment_strength",
    ),
    "trivial": ("augmentations=trivial", "trivial_augment trivialaugment ta_wide trivial"),
    "mixup": (_BLEND["mixup"], "mixup mixup_alpha use_mixup mix_up mixup_prob"),
    "cutmix": (_BLEND["cutmix"], "cutmix cutmix_alpha use_cutmix cut_mix cutmix_prob"),
    "erasing": (_BLEND["erasing"], "cutout random_erasing reprob erasing re_prob random_erase cut_out"
    " random_erasing_prob erase"),
    "flips": (_FLIP, "hflip flip fliplr horizontal_flip flip_lr h_flip random_flip do_flip"
    " random_horizontal_flip flip_prob flips hflip_prob"),
    "vertical flips": ("augmentations=flips", "vflip flipud vertical_flip flip_vert v_flip random_vertical_flip flip_ud"),
    "rotation": (_COLOURS, "rotate degrees rotation max_rotate rotation_range random_rotation hsv_h hsv_s hsv_v"
    " color_jitter brightness"
        " contrast saturation hue translate shear zoom_range max_zoom max_lighting max_warp perspective"
        " width_shift_range color colour_jitter"),
    "crop": ("augmentations=resized_crop preprocessing=original",
        "random_resized_crop rrc random_crop resized_crop crop crop_scale scale"),
    "views": (((_NO, "tta=none"), (_ANY, "tta=flips")), "test_time_augmentation use_tta tta_flips"
    " test_time_augment augment_test"),
    "folds": (
        _FOLDS,
        "folds kfold k_fold num_folds n_folds nfolds n_splits k cross_validation kfolds num_bag_folds nr_folds crossval"
        " cross_val cv_folds n_fold num_splits splits cross_validate k_folds number_of_folds bag_folds",
    ),
    "cross-validation": ((("true|false", "mode.cv={}"), *_FOLDS[1:]), "cv"),
    "fold": (_FOLD, "fold fold_id fold_idx fold_index fold_number val_fold test_fold train_fold which_fold"
    " fold_num only_fold"),
    "validation share": (
        _VALIDATION,
        "val_split validation_split val_size val_fraction val_frac valid_pct val_pct valid_size holdout_frac holdout"
        " valid_fraction val_ratio validation_fraction val_percent eval_split valid_split tuning_frac"
        " validation_size val_share"
        " validation_ratio eval_size eval_fraction dev_size validation valid val validate valid_ratio",
    ),
    "test share": (
        ((r"0?\.\d+", "split.test_fraction={}"), (r"([1-9]|[1-9]\d)%?", "split.test_fraction=0.{1:0>2}"), (f"{_YES}",
            _PARTS), (_ANY, _SPLIT_FOLDERS)),
        "test_split test_size test_fraction test_frac test_pct test_ratio test_percent test_share test_part test",
    ),
    "stratify": ("split.stratify={}", "stratify stratified stratify_by"),
    "shares": ("split=holdout split.val_fraction=0.2 split.test_fraction=0.1 mode.nested=false",
        "train_val_test split_ratio split_ratios ratios train_ratio train_split ratio"),
    "seed": ("seed={}", "s random_state random_seed manual_seed rng_seed rng set_seed np_seed seed_everything"
        " global_seed seeds torch_seed"),
    "deterministic": (
        "leave it out: a training with the same seed always gives the same result",
        "deterministic reproducible benchmark cudnn_benchmark cudnn_deterministic cudnn",
    ),
    "part of the data": (
        ((r"\d+(?:\.0)?[^.]*", "sampling=subset sampling.sample_count={}"), (_ANY,
            "task=NAME+subset?{}, see docs/tags.md")),
        "subset fraction limit_train_batches n_samples max_samples train_fraction data_fraction"
        " max_train_samples sample_frac subsample"
        " limit sample_count num_train_samples train_samples percent",
    ),
    "short epochs": ("sampling=subset sampling.sample_count={}",
        "num_samples samples_per_epoch epoch_size epoch_length images_per_epoch"),
    "steps of an epoch": ("sampling=subset sampling.sample_count=N, the images of an epoch",
        "steps_per_epoch batches_per_epoch steps_in_epoch"),
    "balanced": ("sampling=balanced", "balanced oversample class_balanced weighted_sampler balance oversampling"
        " weighted_sampling balanced_sampling"
        " weighted_random_sampler balance_sampler imbalanced upsample balanced_batches"),
    "sampler": (((_NO, "sampling=full"), (_ANY, "sampling={}")), "sampler data_sampler batch_sampler"
    " sampling_strategy sample"),
    "project": (
        ((_YES.replace("|1", ""), "proj=NAME"), (_ANY, "proj={}")),
        "n p name run_name project experiment exp exp_name experiment_name run project_name save_name session"
        " run_id trial_name job_name task_name title expname study_dir group_name proj_name projectname",
    ),
    "results": (
        _OUT,
        "o output output_dir save_dir outdir results results_dir save_path logdir log_dir default_root_dir checkpoint_dir"
        " workdir work_dir output_path model_dir ckpt_dir save_to out save_folder output_folder result_dir dest"
        " destination"
        " path_out export_dir logs log_path weights_save_path out_path results_path target_dir",
    ),
    "cache": ("data_dir={}", "cache cache_dir cache_path cache_images cache_folder"),
    "time": (
        (
            (r"(?:0+:)*0*([1-9]\d?):\d\d", "time_limit={1}m"),
            (r"(?:0+:)*0*([1-9]\d?):(\d\d):\d\d", "time_limit={1}h{2}m"),
            (_ANY, "time_limit={}"),
        ),
        "time budget max_time timeout time_budget training_time max_runtime max_runtime_secs max_duration budget_time"
        " runtime duration time_left_for_this_task timelimit wall_time",
    ),
    "hours": ("time_limit={}h", "hours max_hours n_hours num_hours time_hours"),
    "minutes": (
        "time_limit={}m",
        "minutes max_minutes mins max_mins n_minutes max_runtime_mins time_minutes",
    ),
    "preset": ("preset={}", "presets quality recipe_preset fit_strategy model_quality level mode_preset automl"),
    "mixed precision": (
        _MIXED,
        "amp mixed_precision use_amp autocast native_amp to_fp16 mixed amp_level amp_backend amp_dtype dtype"
        " float_precision"
        " torch_dtype compute_dtype precision_type use_mixed_precision mixed_precision_training numerics fp"
        " autocast_dtype",
    ),
    "half": (_HALF, "half fp16 float16 use_fp16 half_precision fp_16 use_half"),
    "bf16": (((_NO, "trainer.precision=32-true"), (_ANY, "trainer.precision=bf16-mixed")), "bf16 bfloat16 use_bf16"),
    "fp32": ("trainer.precision=32-true", "fp32 float32 full_precision single_precision no_amp disable_amp"),
    "patience": (
        "cbs=early cbs.early.patience={}",
        "patience early_stopping_patience es_patience stop_patience early_stop_patience early_patience"
        " n_iter_no_change early_stopping_rounds"
        " early_stopping_epochs",
    ),
    "early stopping": (_STOP, "early_stopping stop_early early_stop es use_early_stopping do_early_stopping earlystop"),
    "improvement": ("cbs=early cbs.early.min_delta={}", "min_delta early_stopping_threshold early_stopping_delta"
        " delta es_delta tol tolerance"),
    "ema": (
        ((_NO, "cbs=none"), (r"0?\.\d+", "cbs=ema cbs.ema.decay={}"), (_ANY, "cbs=ema")),
        "ema ema_decay model_ema use_ema model_ema_decay ema_alpha exponential_moving_average averaging",
    ),
    "swa": (
        ((_NO, "cbs=none"), (r"0?\.\d+", "cbs=swa cbs.swa.start={}"), (_ANY, "cbs=swa")),
        "swa use_swa swa_start stochastic_weight_averaging weight_averaging swa_epoch_start",
    ),
    "callbacks": ("cbs={}", "callback cb hooks hook"),
    "best": (
        "mode.store_best={}",
        "save_best save_best_only restore_best_weights store_best load_best_model_at_end load_best keep_best"
        " best_only use_best",
    ),
    "last": (((_NO, "mode.store_best=true"), (_ANY, "mode.store_best=false")), "save_last use_last last_only"),
    "refit": ("mode.refit={}", "refit_full refit_all"),
    "stored": ("mode.store_parameters={}", "save save_model save_checkpoints save_weights store_weights"
        " enable_checkpointing checkpoints store_model"),
    "checkpoints": (
        "leave it out: the best and the last state are kept anyway",
        "save_period save_freq save_every save_top_k checkpoint_every save_steps save_strategy save_total_limit"
        " checkpoint_callback"
        " save_interval checkpoint_freq every_n_epochs checkpoint_interval save_every_n_epochs",
    ),
    "monitor": (
        _MONITOR,
        "metric eval_metric monitor main_metric metric_for_best_model optimize_metric monitor_metric"
        " checkpoint_metric target_metric"
        " early_stopping_monitor watch score scoring best_metric validation_metric key_metric early_stop_metric",
    ),
    "metrics": (
        "metrics.train=[{}]",
        "metrics_list train_metrics val_metrics eval_metrics compute_metrics metric_names additional_metrics"
        " extra_metrics",
    ),
    "direction": ("metrics.direction={}", "greater_is_better monitor_mode metric_mode maximize minimise maximise"
        " minimize metric_direction"),
    "logger": (
        ((_NO, "logging=none"), (_YES, "logging=csv"), (_ANY, "logging={}")),
        "logger loggers report_to log log_to tracker tracking experiment_tracker log_with",
    ),
    "tensorboard": (((_NO, "logging=none"), (_ANY, "logging=tensorboard")), "tensorboard tb use_tensorboard"
    " tensor_board"),
    "wandb": (((_NO, "logging=none"), (_ANY, "logging=wandb")), "wandb use_wandb log_wandb weights_and_biases"),
    "wandb project": ("logging=wandb logging.project={}", "wandb_project"),
    "wandb entity": ("logging=wandb logging.entity={}", "wandb_entity entity wandb_team"),
    "mlflow": (((_NO, "logging=none"), (_ANY, "logging=mlflow")), "mlflow use_mlflow log_mlflow"),
    "mlflow server": (
        "logging=mlflow logging.tracking_uri={}", "tracking_uri mlflow_tracking_uri mlflow_uri tracking_url"
    ),
    "mlflow experiment": ("logging=mlflow logging.experiment={}", "mlflow_experiment mlflow_experiment_name"),
    "other loggers": ("logging=mlflow, wandb, tensorboard or csv", "comet neptune clearml aim"),
    "trials": (
        "hpo=optuna search_space=basic hpo.trials={}",
        "n_trials trials num_trials max_trials n_trial num_samples_hpo n_random search_trials"
        " hyperparameter_tune_trials optuna_trials",
    ),
    "search": (
        ((_NO, "hpo=none"), (_ANY, "hpo=optuna search_space=basic")),
        "tuner search hyperparameter_tune hyperparameter_search hyperopt optuna tune_hyperparameters"
        " hyperparameter_tune_kwargs"
        " grid_search random_search use_optuna autotune hp_search hyperparameters sweep",
    ),
    "study": ("hpo=optuna search_space=basic hpo.study={}", "study study_name sweep_name study_id"),
    "rate search": (
        ((_NO, "tune=none"), (_ANY, "tune=lr_find")),
        "auto_lr auto_lr_find find_lr lr_finder suggest_lr use_lr_finder lr_find lr_range_test autolr",
    ),
    "batch search": ("tune=batch_size", "auto_batch auto_batch_size scale_batch_size auto_scale_batch_size"
        " find_batch_size autobatch"),
    "said": (
        _LOGGED,
        "verbose verbosity quiet debug log_level progress progress_bar enable_progress_bar silent loglevel"
        " log_interval print_freq"
        " log_every_n_steps logging_steps display show_progress disable_tqdm print_every v vv q log_every tqdm"
        " refresh_rate bar",
    ),
    "seen to": (
        _SEEN_TO,
        "pin_memory persistent_workers prefetch_factor drop_last channels_last use_distributed_sampler sync_bn"
        " sync_batchnorm prefetch shuffle shuffle_data pin_mem memory_format gradient_checkpointing"
        " grad_checkpointing use_cache cudnn_on"
        " num_sanity_val_steps check_val_every_n_epoch eval_steps evaluation_strategy eval_strategy"
        " val_check_interval val_interval"
        " eval_interval eval_every multi_scale rect single_cls overlap_mask close_mosaic exist_ok plots"
        " overwrite overwrite_output_dir"
        " image_weights strategy ddp distributed dist_url dist_backend local_rank rank num_nodes nodes backend dp fsdp"
        " trust_remote_code push_to_hub hub_model_id show save_txt save_hybrid entity_name eval do_lower_case"
        " fused no_save mosaic copy_paste validation_freq val_freq use_multiprocessing max_queue_size run_eagerly"
        " steps_per_execution remove_unused_columns ddp_find_unused_parameters dataloader_drop_last checkpoint_hist"
        " dataloader_pin_memory dataloader_persistent_workers recovery_interval",
    ),
    "tests alone": ("leave it out: mml test tests what was trained", "eval_only test_only evaluate_only only_test"),
    "unknown here": (
        "leave it out: mlpipe has nothing of this kind",
        "activation act_layer hidden_units hidden_size hidden_dim n_estimators num_leaves max_depth kernel_size num_layers"
        " n_layers include_top bn_momentum bn_eps jsd_loss jsd aug_splits resplit split_bn nbs box pose kobj dfl tokenizer"
        " max_length max_seq_length auto_stack num_stack_levels num_bag_sets excluded_model_types lr_noise"
        " bce_target_thresh initial_epoch crop_fraction crop_pct profile profiler detect_anomaly overfit_batches"
        " group_by_length",
    ),
    "parts": (
        _PARTS,
        "do_train do_eval do_predict predict do_test run_test evaluate predict_after test_after_training"
        " train_and_test"
        " stage steps_to_run phases actions evaluate_after do_val",
    ),
    "nested": ("mode.nested={}", "nested nested_cv"),
    "calibrator": ("mode.calibrator={}", "calibration calibrate calibration_method calibrator calib calibrate_method"
        " temperature_scaling"),
    "prior": ("mode.prior={}", "prior priors class_prior prevalence class_priors prevalences base_rate"),
    "new images": (_SOURCE, "new_images test_images unlabelled unlabeled predict_dir inference_dir"),
    "dry run": ("--dry-run in place of it", "dry_run dryrun fast_dev_run check_only simulate"),
    "continue": ("continue={}", "continue_from continue_run continue_latest continue"),
    "recipe": ("recipe={}", "recipe recipes config cfg config_file config_path cfg_file yaml conf_file configuration"
        " experiment_file hyp args_file config_name"),
}  # fmt: skip

# Meanings of words in one mode only.
_OF_MODE: dict[str, dict[str, Entry]] = {
    "predict": {
        **{word: _SOURCE for one in ("task", "new images") for word in _SAME[one][1].split()},
        **dict.fromkeys(
            ["model", "weights", "checkpoint", "ckpt", "model_path", "model_name", "record", "experiment", "run"],
            _MODELS,
        ),
        **dict.fromkeys(
            ("conf", "confidence", "threshold", "conf_thres", "top_k", "topk", "iou", "score_threshold"),
            "leave it out: the table has the probability of each class",
        ),
        **dict.fromkeys(
            ("save", "csv", "save_csv", "save_conf", "save_results", "format", "output_format", "save_predictions"),
            _TABLE_OF_PREDICTIONS,
        ),
        **dict.fromkeys(
            ("output", "out", "o", "output_path", "output_file", "save_path", "save_to"),
            ((r".*\.\w{2,7}", _TABLE_OF_PREDICTIONS), (_ANY, _OUT)),
        ),
    },
    "lr_find": {
        **dict.fromkeys(("min_lr", "start_lr", "lr_min", "lr_start", "init_value", "lr"), "mode.start={}"),
        **dict.fromkeys(("max_lr", "end_lr", "lr_max", "lr_end", "final_value"), "mode.end={}"),
        "folds": ((r"\[ *(\d+).*", "mode.fold={1}"), *_FOLDS[1:]),
        **dict.fromkeys(_SAME["fold"][1].split(), _ONE_FOLD),
        **dict.fromkeys(("num_training", "num_it", "num_iter", "iterations", "n_steps", "num_steps"), "mode.steps={}"),
    },
    "info": {
        "report": "mode.subroutines=[report]",
        "html": "mode.subroutines=[report]",
        "task": "task={}",
        **{word: f"mode.subroutines=[{word}]" for word in ("tasks", "samples", "hpo", "sample_grid")},
        **dict.fromkeys(("leaderboard", "results", "scores"), "mode.subroutines=[models]"),
        **dict.fromkeys(("projects", "project_list", "runs", "latest"), "proj=NAME, a folder of the results"),
        "models": "mode.compare={}",
        "study": "mode.study_name={}",
        "model": "mode.compare={}",
    },
    "verify": {"run_name": "mode.run={}", "run_id": "mode.run={}"},
    "upgrade": {"from_version": "mode.version={}", "from": "mode.version={}"},
    "clean": {
        **dict.fromkeys(
            ("cache", "temp", "download", "parameters"), "mode.subroutines=[cache], or temp, download, parameters"
        ),
        "yes": "mode.force=true",
        "y": "mode.force=true",
        "what": "mode.subroutines=[{}]",
    },
    "post": {
        "coverage": _COVERAGE,
        "confidence": _COVERAGE,
        "method": "mode.calibrator={}",
        "cost": "mode.costs={}",
        "sensitivity": "mode.threshold=sensitivity mode.at_least={}",
        "recall": "mode.threshold=sensitivity mode.at_least={}",
        "specificity": "mode.threshold=specificity mode.at_least={}",
        "ensemble": (
            (
                "mean|average|avg|equal|uniform|soft|vote|voting",
                "mode.weights_budget=0, which gives members equal weights",
            ),
            (f"{_YES}|all|auto|latest", "leave it out: mml post makes an ensemble by itself"),
            (_NO, "mode.subroutines=[calibrate]"),
            (r"\d+", "mode.max_ensemble_size={}"),
            (_ANY, "mode.search={}"),
        ),
        "max_models": "mode.max_ensemble_size={}",
        "ensemble_size": "mode.max_ensemble_size={}",
    },
    "pp": {"threads": "sys.num_workers={}"},
}


def _mode_entries() -> dict[str, Entry]:
    return {f"{mode}:{word}": entry for mode, entries in _OF_MODE.items() for word, entry in entries.items()}


# Entries by a key's last word, or by `MODE:word`.
KEYS: dict[str, Entry] = {word: entry for entry, words in _SAME.values() for word in words.split()} | _mode_entries()
# Full keys, or `MODE:key`, whose last word alone would mean something else.
WHOLE: dict[str, Entry] = {
    "remove.models": "remove.parameters={}",
    "remove.weights": "remove.parameters={}",
    "remove.checkpoints": "remove.parameters={}",
    "task.path": "task=folder task.root={}",
    "task.dir": "task=folder task.root={}",
    "task.folder": "task=folder task.root={}",
    "task.source": "task=folder task.root={}",
    "task.csv": "task=csv task.file={}",
    "task.table": "task=csv task.file={}",
    "task.num_classes": KEYS["num_classes"],
    "arch.name": "arch={}",
    "arch.model": "arch={}",
    "arch.backbone": "arch={}",
    "split.fold": "split.folds={}",
    "split.k": "split=kfold split.folds={}",
    "split.n": "split=kfold split.folds={}",
    "split.validation": _VALIDATION,
    "split.test": "split.test_fraction={}",
    "optimizer.decay": "optimizer.weight_decay={}",
    "optimizer.clip": "optimizer.clip_norm={}",
    "lr_scheduler.warmup": KEYS["warmup"],
    "lr_scheduler.min_lr": KEYS["min_lr"],
    "preprocessing.image": _SIZE,
    "loss.weight": KEYS["class_weights"],
    "loss.weights": KEYS["class_weights"],
    "loss.smoothing": KEYS["smoothing"],
    "metrics.metric": _MONITOR,
    "metrics.names": KEYS["metrics_list"],
    "metrics.list": KEYS["metrics_list"],
    "mode.fold": _FOLD,
    "lr_find:mode.folds": _ONE_FOLD,
    "mode.steps": "mode.subroutines={}",
    "mode.routines": "mode.subroutines={}",
    "mode.stages": "mode.subroutines={}",
    "trainer.logger": KEYS["logger"],
    "sys.workers": _WORKERS,
    "sys.jobs": _WORKERS,
    "sys.device": _GPU,
    "sys.gpus": _GPUS,
    "hpo.n_trials": "hpo.trials={}",
    "hpo.name": "hpo.study={}",
}

# First words of keys, with the intended section.
SECTIONS: dict[str, str] = {
    word: section
    for section, words in {
        "trainer": "train training fit train_cfg training_args train_params trainer_args run train_args learn"
        " learner hparams hyp fitting pl",
        "arch": "model network net backbone encoder module architecture models nn classifier head timm archs",
        "task": "data dataset datamodule dm datasets task_cfg csv folder tasks",
        "sampling": "dataloader loader loaders train_dataloader sampler batch sample dataloaders",
        "optimizer": "opt optim optimiser optimizers solver optim_cfg optimization",
        "lr_scheduler": "scheduler sched lr_sched schedule lrscheduler lr_schedule lr schedulers",
        "loss": "criterion objective losses loss_fn",
        "augmentations": "aug augment augmentation transforms transform augs",
        "preprocessing": "preprocess prep preproc pre image images img input resize pre_processing",
        "callbacks": "callback cb early_stopping",
        "sys": "system env hardware machine device cpu",
        "split": "cv folds splits kfold splitting cross_validation splitter",
        "metrics": "metric evaluation eval",
        "logging": "logger log loggers",
        "hpo": "optuna search tuner hyperparameters study hyperopt",
        "mode": "post predict test info clean create pp tl lr_find evaluate verify upgrade downgrade convert"
        " modes subroutine calibration",
        "tta": "test_time_augmentation",
        "stages": "stage",
        "reuse": "reused",
    }.items()
    for word in words.split()
}  # fmt: skip

_LOSSES = {
    "ce": "crossentropy cross_entropy categorical_crossentropy sparse_categorical_crossentropy softmax logloss"
    " log_loss xent"
    " softmax_cross_entropy cross_entropy_loss ce_loss crossentropy_flat crossentropylossflat softmax_loss"
    " multiclass nllloss_softmax"
    " categorical cel softmax_ce multi_class_cross_entropy soft_target_cross_entropy",
    "loss=ce loss.label_smoothing=0.1": "label_smoothing_cross_entropy label_smoothing labelsmoothing label_smooth_ce"
    " smoothed_ce lsce",
    "loss=ce loss.class_weights=balanced": "weighted_ce weighted_cross_entropy balanced_ce weighted balanced wce",
    "bce": "binary_crossentropy binary_cross_entropy bce_with_logits bcewithlogits bcewithlogits_loss bce_loss"
    " binary sigmoid"
    " bce_logits sigmoid_cross_entropy multilabel multi_label multilabel_soft_margin binary_ce bce_with_logits_loss",
    "mae": "l1 l1_loss mean_absolute_error absolute_error mae_loss abs",
    "mse": "l2 l2_loss mean_squared_error mse_loss squared_error rmse mse_loss_flat ols squared",
    "smooth_l1": "smooth_l1_loss smoothl1 huber_smooth",
    "huber": "huber_loss",
    "focal": "focal_loss sigmoid_focal sigmoid_focal_loss binary_focal focal_loss_flat fl retina",
    "dice": "dice_loss soft_dice dice_coef diceloss generalized_dice",
    "jaccard": "iou iou_loss jaccard_loss soft_iou soft_jaccard",
    "lovasz": "lovasz_softmax lovasz_hinge lovasz_loss",
    "loss=composite loss.expression=ce+dice": "dice_ce ce_dice dice_cross_entropy combo combo_loss combined",
    "loss=composite loss.expression=bce+dice": "bce_dice dice_bce",
    "asymmetric": "asl asymmetric_loss asl_loss",
    "nll": "nll_loss negative_log_likelihood",
    "poly1": "poly poly_loss polyloss poly1_loss",
    "auto": "default automatic usual standard",
}
_SCHEDULES = {
    "one_cycle": "onecyclelr one_cycle_lr 1cycle onecycle one_cycle_policy superconvergence onecycle_policy",
    "cosine": "cosineannealing cosineannealinglr cosine_annealing cos coslr cosinelr"
    " cosine_schedule cosine_lr"
    " cosine_annealing_lr cosine_with_warmup warmup_cosine linear_warmup_cosine flat_cosine flat_cos"
    " cosine_schedule_with_warmup",
    "cosine_restart": "cosineannealingwarmrestarts sgdr warm_restarts cosine_warm_restarts cosine_restarts"
    " cosine_annealing_warm_restarts"
    " cosine_with_restarts restarts cosinewarmrestarts",
    "plateau": "reducelronplateau reduce_lr_on_plateau reduceonplateau reduce_on_plateau lr_plateau reduce plateau_lr",
    "step": "steplr step_lr step_decay staircase steps",
    "multistep": "multisteplr multi_step multi_step_lr",
    "exponential": "exponentiallr exponential_decay exp explr exponential_lr",
    "polynomial": "polynomiallr poly polynomial_decay linear linearlr linear_decay linear_schedule poly_lr"
    " linear_with_warmup linear_lr",
    "none": "constant constantlr flat fixed const no false off null constant_lr constant_schedule lambdalr",
    "cyclic": "cycliclr clr triangular cyclic_lr triangular2",
    "inverse_time": "inverse_time_decay inversetime inv",
    "piecewise": "piecewise_constant piecewise_constant_decay",
    "warmup": "linear_warmup warmup_lr constant_with_warmup warmup_constant gradual_warmup",
}
_CALLBACKS = {
    "early": "earlystopping early_stopping earlystop early_stop earlystoppingcallback es patience"
    " early_stopping_callback",
    "leave it out: the best epoch is kept by itself, see mode.store_best": "modelcheckpoint model_checkpoint"
    " checkpoint checkpoints"
    " save_best savemodel savemodelcallback checkpointing save_model best_checkpoint checkpoint_callback",
    "lr_scheduler=plateau": "reducelronplateau reduce_lr_on_plateau plateau reducelr",
    "lr_scheduler=step": "learningratescheduler lr_scheduler learning_rate_scheduler",
    "ema": "modelema model_ema emacallback exponential_moving_average moving_average weight_averaging"
    " ema_callback averaging",
    "swa": "stochasticweightaveraging stochastic_weight_averaging swa_callback",
    "time_limit": "timer timeout max_time time timercallback timelimit",
    "logging=csv": "learningratemonitor lr_monitor csvlogger csv_logger progress history lr_logger",
    "logging=tensorboard": "tensorboard tb",
    "trainer.accumulate_grad_batches=4": "gradientaccumulation gradient_accumulation gradientaccumulationscheduler",
    "optimizer.clip_norm=1.0": "gradientclip gradient_clip gradientclipping gradient_clipping",
    "augmentations=mixup": "mixup mixupcallback",
    "augmentations=cutmix": "cutmix cutmixcallback",
    "trainer.precision=16-mixed": "mixedprecision mixed_precision fp16 amp",
    "stages=freeze_then_finetune": "backbonefinetuning backbone_finetuning basefinetuning freeze finetuning",
    "leave it out: the terminal shows progress by itself": "progressbar progress_bar tqdmprogressbar"
    " richprogressbar tqdm rich",
    "none": "false no off null",
    "best_practice": "best_practices bestpractice all recommended",
}
_AUGMENTATIONS = {
    "default": "true yes on standard basic normal light auto crop crops simple weak hflip horizontal_flip"
    " fliplr flip_lr aug_transforms",
    "none": "false no off null nothing disabled",
    "randaugment": "randaug rand_augment autoaugment auto_augment ra rand aa heavy strong medium random"
    " aggressive hard rand_m9_mstd0_5_inc1",
    "trivial": "trivialaugment trivial_augment trivialaugmentwide trivial_augment_wide ta ta_wide trivialaug",
    "erasing": "cutout random_erasing randomerasing random_erase erase cut_out",
    "resized_crop": "randomresizedcrop random_resized_crop rrc random_crop resize_crop inception",
    "flips": "flip vflip vertical_flip flipud hvflip both_flips hv random_flip flip_ud d4 rotate90 flips_hv",
    "alternating": "alternating_flip alternate_flip alternate altflip alternating_flips airbench",
    "v2": "torchvision color_jitter colorjitter rotate rotation affine colours colors colour color tv rotations"
    " geometric",
    "albumentations": "albu albumentation alb a imgaug",
    "mixup": "mix_up mixup_alpha",
    "cutmix": "cut_mix mixup_cutmix cutmixup cut_mixup mosaic",
}

_OPTIONS: dict[str, dict[str, str]] = {
    "loss": _LOSSES,
    "lr_scheduler": _SCHEDULES,
    "callbacks": _CALLBACKS,
    "augmentations": _AUGMENTATIONS,
    "optimizer": {
        "sgd": "nesterov momentum sgd_momentum sgdm sgd_nesterov momentumsgd msgd gd stochastic_gradient_descent",
        "adamw": "adam_w adamw_torch adamw_hf adamw_8bit fused_adamw adamwscale auto default ranger radam"
        " adabelief adafactor muon adan"
        " adamw_torch_fused paged_adamw sophia prodigy paged_adamw_8bit paged_adamw_32bit adamw_bnb_8bit"
        " adamw_anyprecision adamw_apex_fused adam8bit adamw8bit",
        "lbfgs": "l_bfgs bfgs newton",
        "rmsprop": "rms rmsproptf rms_prop rmsprop_tf",
        "adam": "fused_adam adam_optimizer",
        "nearest": "knn k_nn k_nearest_neighbours k_nearest_neighbors kneighborsclassifier nearest_neighbours",
        "linear": "logistic_regression logreg ridge linear_probe logistic",
        "none": "false no off",
    },
    "logging": {
        "tensorboard": "tb tensor_board tensorboardlogger tensorboard_logger true yes",
        "csv": "csvlogger file csv_logger json text console",
        "none": "false no off null disabled",
        "mlflow": "mlflowlogger ml_flow mlflow_logger",
        "wandb": "weightsandbiases weights_and_biases wandblogger wandb_logger w&b wb",
        "logging=mlflow, wandb, tensorboard or csv": "comet neptune clearml aim dvclive dvc trackio",
    },
    "hpo": {
        "hpo=optuna search_space=basic": "true yes on tpe bayes bayesian ray raytune ray_tune hyperopt auto"
            " bayesian_optimization search"
        " skopt tune asha bohb nevergrad smac ax",
        "hpo=optuna search_space=basic hpo.sampler=random": "random random_search randomsearch randomized"
            " randomizedsearchcv",
        "hpo=optuna search_space=basic hpo.sampler=grid": "grid grid_search gridsearch gridsearchcv",
        "hpo=optuna search_space=basic hpo.pruner=hyperband": "hyperband median pruner",
        "none": "false no off null",
    },
    "search_space": {"basic": "default auto true yes standard simple", "none": "false no off null"},
    "preset": {
        "fast": "medium medium_quality quick fast_training speed fastest small low draft quick_fit light"
        " optimize_for_deployment",
        "good": "good_quality high high_quality normal default medium_quality_faster_train standard balanced"
        " auto true middle",
        "best": "best_quality max extreme optimal maximum highest top accurate accuracy competition quality"
        " experimental_quality"
        " extreme_quality slow",
        "none": "false no off null",
    },
    "split": {
        "kfold": "cv k_fold kfolds stratified stratifiedkfold stratified_kfold stratified_k_fold"
        " crossvalidation cross_validation groupkfold"
        " group_kfold folds k crossval stratifiedgroupkfold stratified_group_kfold repeatedkfold 5fold 10fold"
        " true default groups",
        "holdout": "train_test_split random val_split single simple random_split train_val train_val_split"
        " one_split hold_out traintest"
        " randomsplitter validation false no shufflesplit random_splitter ratio stratified_split train_val_test",
        "given": "predefined folders own existing fixed custom grandparentsplitter official folder"
        " predefinedsplit as_is provided dataset column",
        "shuffled": "sklearn scikit_learn shuffle shuffle_split",
        "on_test": "none all full no_split no_validation train_on_all",
        "time": "timeseries time_series timeseriessplit time_series_split temporal chronological forward walk_forward"
        " expanding date timesplit",
        "leave_one_group_out": "leaveonegroupout logo leave_one_out leaveoneout loo leavepout leave_p_out leave_one_site_out"
        " leave_one_patient_out loso lopo by_group per_group",
    },
    "sampling": {
        "balanced": "weighted weightedrandomsampler oversampling oversample class_balanced"
        " weighted_random_sampler balance weighted_random"
        " uniform_class upsample upsampling imbalanced balanced_batch",
        "full": "all random shuffle default sequential none false normal randomsampler epoch uniform",
        "subset": "part partial few sub short subsample undersample undersampling",
    },
    "stages": {
        "freeze_then_finetune": "gradual freeze finetune fine_tune two_stage head_first two two_phase"
        " freeze_unfreeze finetuning"
        " gradual_unfreezing fine_tuning freeze_finetune unfreeze transfer head_then_all 2 progressive warmup",
        "single": "one default none false single_stage no 1",
    },
    "tta": {
        "flips": "true yes on hflip flip horizontal_flip default fliplr mirror flip_lr",
        "hv": "vflip hvflip flips_hv vertical",
        "d4": "dihedral all rot90 d4_transform rotate90",
        "crop": "five_crop fivecrop ten_crop tencrop crops multi_crop multicrop center_crop",
        "none": "false no off null",
        "rotate": "rotation rotations",
    },
    "tune": {
        "lr_find": "lr lrfinder lr_finder auto_lr auto_lr_find learning_rate find_lr true lr_range_test"
        " suggest_lr rate",
        "batch_size": "batch auto_batch_size scale_batch_size power bs binsearch batchsize autobatch",
        "none": "false no off null",
        "hpo=optuna search_space=basic": "optuna hyperparameters hpo ray search",
    },
    "peft": {"lora": "true yes on adapter adapters qlora dora lo_ra", "none": "false no off null"},
    "compile": {"default": "true yes on torch inductor max_autotune reduce_overhead jit torch_compile",
        "none": "false no off null"},
    "preprocessing": {
        "default": "auto resize standard true yes normal model timm squash",
        "none": "false no off null raw",
        "original": "keep full full_size native as_is no_resize orig original_size",
        "preprocessing.resize=short_side": "center_crop centercrop crop short_side resize_crop",
        "preprocessing.resize=pad": "pad letterbox padding",
        "arch.in_chans=1": "grayscale greyscale gray grey to_grayscale bw",
    },
    "metrics": {
        "auto": "default true standard",
        "metrics.monitor=val/accuracy": "",
    },
    "task": {
        "folder": "imagefolder image_folder images dir directory class_folders classification path imagenet"
        " image_dir folder_of_classes"
        " subfolders classes image_classification img_folder imagenet_folder local root from_folder"
        " imagedatabunch imagedataloaders",
        "csv": "dataframe table tsv df excel parquet from_df from_csv spreadsheet pandas annotations multilabel"
        " regression csv_file from_dataframe"
        " xlsx labels list csvs",
        "arrays": "npz npy numpy array np h5py tensors",
        "masks": "mask segmentation semantic_segmentation segment seg semantic",
        "boxes": "detection object_detection detect bbox bboxes bounding_boxes coco yolo voc pascal_voc",
        "mask_folders": "maskfolder mask_folder segmentation_folders",
        "fashion_mini": "fashion fashionmnist fashion_mnist fmnist demo example toy sample test default fashionmini",
        "digits": "sklearn_digits load_digits optdigits",
        "samples": "volumes generated",
        "mnist": "emnist kmnist qmnist idx",
    },
    "arch": {
        "resnet18": "resnet default small auto rn18 res_net resnet_18",
        "resnet50": "rn50 resnet_50 resnet50_v2 resnet50v2 resnet50v1",
        "resnet101": "rn101 resnet_101",
        "resnet34": "rn34 resnet_34",
        "efficientnet_b0": "efficientnet effnet enet b0 efficientnet_b_0 efficient_net efficientnetb0 effnet_b0 en_b0",
        "efficientnet_b3": "efficientnetb3 b3",
        "tf_efficientnetv2_s": "efficientnetv2 efficientnet_v2 efficientnet_v2_s efficientnetv2_s effnetv2",
        "convnext_tiny": "convnext conv_next convnextt",
        "convnext_base": "convnextb",
        "vit_base_patch16_224": "vit vit_b_16 vit_b16 vit_base transformer vision_transformer vit_b vitb16"
        " google_vit_base_patch16_224",
        "vit_large_patch16_224": "vit_l_16 vit_large vit_l",
        "vit_small_patch16_224": "vit_s_16 vit_small vit_s",
        "deit_small_patch16_224": "deit",
        "swin_tiny_patch4_window7_224": "swin swin_t swin_transformer swintransformer swin_tiny",
        "swin_base_patch4_window7_224": "swin_b swin_base",
        "mobilenetv3_large_100": "mobilenet mobilenetv3 mobilenet_v3 mobilenet_v3_large mobilenetv3_large mobile",
        "mobilenetv3_small_100": "mobilenet_v3_small mobilenetv3_small",
        "mobilenetv2_100": "mobilenetv2 mobilenet_v2",
        "densenet121": "densenet densenet_121",
        "vgg16": "vgg vgg_16",
        "inception_v3": "inception inceptionv3 googlenet",
        "xception": "xception41p",
        "regnety_016": "regnet regnety regnet_y_1_6gf",
        "resnext50_32x4d": "resnext resnext50",
        "wide_resnet50_2": "wide_resnet wideresnet wide_resnet50",
        "vit_small_patch14_dinov2": "dino dinov2 dino_v2",
        "vit_base_patch16_clip_224": "clip openclip open_clip",
        "maxvit_tiny_tf_224": "maxvit maxvit_t",
        "unet": "u_net segmentation unet_resnet34 unetplusplus deeplab deeplabv3 deeplabv3plus",
    },
    "trainer": {
        "trainer.accelerator=gpu": "gpu cuda nvidia",
        "trainer.accelerator=cpu": "cpu",
        "trainer.accelerator=mps": "mps apple",
        "trainer.devices=2": "ddp multi_gpu multigpu distributed",
        "trainer.precision=16-mixed": "fp16 amp half mixed",
    },
    "remove": {"remove.parameters=true": "parameters weights true all models checkpoints"},
    "reuse": {
        "leave it out: models and predictions of this project are used, and reuse.models=PROJ names others": "current true self"
        " this own all",
    },
    "healing": {"none": "false no off null", "default": "true yes on auto"},
    "slicing": {"crops": "crop true patches tiles tile patch", "none": "false no off null"},
}  # fmt: skip

# For each group, the option or text to write for a word.
OPTIONS: dict[str, dict[str, str]] = {
    group: {word: meant for meant, words in entries.items() for word in words.split()}
    for group, entries in _OPTIONS.items()
}
# Replacements for values that are not options of a group: pairs as in an entry.
OTHER_OPTIONS: dict[str, Entry] = {
    "preprocessing": ((r"(?:size|sz|px|to)?[_ -]?(\d+) ?(?:px)?", "preprocessing.size={1}"), *_SIZE[:2]),
    "metrics": "metrics.train=[{}]",
    "split": (
        # The part with most images is the share for training.
        (r"0?\.[6-9]\d*", "split=holdout split.val_fraction=0.2 mode.nested=false, the share to validate on"),
        (r"\d\d?\D(\d\d)%?", "split=holdout split.val_fraction=0.{1} mode.nested=false"),
        (r"0?\.\d+", _HOLDOUT),
        (r"\d+", "split=kfold split.folds={}"),
        (r"(\d+)[ _-]?folds?", "split=kfold split.folds={1}"),
    ),
    "hpo": ((r"\d+", "hpo=optuna search_space=basic hpo.trials={}"),),
    "sampling": ((r"\d+", "sampling.batch_size={}"),),
    "optimizer": ((r"0?\.\d+|\d+e-\d+", "optimizer.lr={}"),),
    "preset": ((r"\d+ *[smh].*|\d\d+", "preset=fast time_limit={}"),),
    "task": (
        (r".*\.(?:csv|tsv|parquet)", "task=csv task.file={}"),
        (r".*\.(?:npz|npy)", "task=arrays task.file={}"),
        (r".*[/.~].*", "task=folder task.root={}"),
    ),
    "arch": (
        (r".*\.(?:pt|pth|ckpt|safetensors)", "arch.weights={}"),
        (r".*\.(?:json|h5|keras)", "arch=keras_json arch.file={}"),
    ),
    "augmentations": ((r"\[.*", "augmentations.cpu.pipeline={}"),),
    "callbacks": (),
    "trainer": ((r"\d+", "trainer.max_epochs={}"),),
    "sys": ((r"\d+", "sys.num_workers={}"),),
    "tta": ((r"\d+", "tta=d4"),),
}

_VALUES: dict[str, dict[str, str]] = {
    "trainer.precision": {
        "16-mixed": "fp16 float16 half 16bit fp16_mixed mixed amp mixed_16 16_bit mixed_fp16 mixed_float16 f16"
        " mixed_precision half_precision apex o1",
        "bf16-mixed": "bfloat16 bf16_amp brainfloat bf_16 mixed_bf16 mixed_bfloat16 bfloat bf16mixed",
        "32-true": "fp32 float32 full single 32bit float 32_bit f32 highest high no false full_precision none",
        "64-true": "fp64 float64 double 64bit 64_bit f64",
        "auto": "default best medium true yes",
    },
    "trainer.accelerator": {
        "gpu": "nvidia cuda:0 gpus cuda0 gpu:0 cuda:1 rocm amd 0 1 true",
        "cpu": "none false intel",
        "mps": "apple metal m1 m2",
        "auto": "any default best",
    },
    "trainer.devices": {"auto": "all -1 gpu gpus any"},
    "mode.calibrator": {
        "affine": "platt sigmoid logistic platt_scaling logistic_regression logistic_calibration plattscaling",
        "isotonic": "isotonic_regression iso isotonicregression pav pava",
        "temperature": "temperature_scaling temp ts t temperaturescaling temp_scaling",
        "histogram": "histogram_binning binning hist bins",
        "beta": "beta_calibration betacalibration",
        "vector": "vector_scaling vectorscaling",
        "matrix": "matrix_scaling dirichlet dirichlet_calibration matrixscaling",
        "bias": "bias_correction offset bcts",
        "none": "false no off null raw nothing",
        "auto": "true yes best cv on default",
    },
    "mode.search": {
        "greedy": "caruana greedy_selection forward forward_selection selection hill_climbing ensemble_selection",
        "search": "random random_search default",
        "certified": "exact optimal convex best slsqp scipy",
        "soup": "soups model_soup greedy_soup weight_average average_weights weight_averaging averaged_weights",
    },
    "mode.stage": {"before": "pre members first each member", "after": "post mixture ensemble last", "both": "all two",
        "none": "false no off null"},
    "mode.set_score": {"lac": "thr threshold softmax hinge probability", "aps": "adaptive",
        "raps": "regularized regularised"},
    "mode.set_coverage": {"class": "classwise class_conditional conditional per_class mondrian label",
        "marginal": "global overall all"},
    "mode.quantifier": {
        "em": "saerens maximum_likelihood emq sld expectation_maximization ml mle",
        "cc": "classify_and_count count plain",
        "acc": "adjusted adjusted_count adjusted_classify_and_count",
        "bbse": "black_box bbsl",
    },
    "mode.prior": {"val": "validation valid train training", "test": "testing true", "quantify": "estimate auto"
    " estimated new unlabelled"},
    "mode.select_on": {"oof": "out_of_fold val validation cv valid"},
    "mode.threshold": {"f1": "f1_score fscore f", "youden": "j youden_j youdens_j roc",
        "balanced_accuracy": "bacc bal_acc balanced", "cost": "costs", "sensitivity": "recall tpr sens true_positive_rate",
        "specificity": "tnr spec true_negative_rate"},
    "mode.model_selection": {"performance": "best val loss accuracy", "created": "latest newest last new", "random": "any"},
    "mode.suggest": {"steepest": "steep minimum_gradient gradient", "valley": "valley_point min"},
    "mode.folds": {"null": "all none"},
    "mode.subroutines": {"[train,predict,test]": "all everything"},
    "metrics.train": {
        "[accuracy]": "acc [acc] top1 [top1]",
        "[macro_f1]": "f1 [f1] f1_score [f1_score] macro_f1",
        "[auroc]": "auc [auc] roc_auc [roc_auc] auroc",
    },
    # With `=`: the replacement for the key.
    "optimizer.lr": {"tune=lr_find": "auto find lr_find none null"},
    "sampling.batch_size": {"tune=batch_size": "auto max find none null -1"},
    "mode.cv": {f"split.folds={number}": f"{number}" for number in range(2, 21)},
    "metrics.direction": {"max": "maximize maximise higher up greater true", "min": "minimize minimise lower"
    " down less false"},
    "metrics.monitor": {
        "val/accuracy": "acc val/acc accuracy val_accuracy val_acc top1 val/top1 accuracy_score error_rate",
        "val/loss": "val_loss loss valid_loss validation_loss eval_loss",
        "val/macro_f1": "f1 val/f1 f1_score val_f1 macro_f1",
        "val/auroc": "auc roc_auc val/auc auroc val_auc val/roc_auc",
    },
    "hpo.direction": {"maximize": "max maximise higher", "minimize": "min minimise lower"},
    "hpo.sampler": {
        "tpe": "bayes bayesian tpesampler optuna bayesian_optimization bo tree_parzen",
        "random": "random_search randomsampler randomsearch",
        "grid": "grid_search gridsampler gridsearch",
        "gp": "gaussian_process gaussian gpsampler",
        "nsga2": "nsga nsgaii genetic nsgaiisampler evolutionary",
        "qmc": "sobol quasi_random",
    },
    "hpo.pruner": {"hyperband": "asha sha hyperbandpruner successive_halving bohb", "median": "medianpruner"
    " true yes", "none": "false no off null"},
    "arch.pool": {"avg": "mean average gap global_average adaptive_avg", "max": "maximum gmp", "avgmax": "both",
        "catavgmax": "concat adaptive_concat", "stages": "all_stages multi_stage multi_layer intermediate head2toe"},
    "preprocessing.resize": {
        "squash": "stretch resize scale squish distort fill",
        "short_side": "crop center_crop shorter shortest centercrop short shortest_edge smallest",
        "pad": "letterbox padding longest long_side longer zeros",
    },
    "preprocessing.interpolation": {"bicubic": "cubic", "bilinear": "linear_pil bi default",
        "lanczos": "lanczos3 antialias", "box": "area", "nearest": "nn nearest_exact"},
    "loss.class_weights": {"balanced": "balance true auto inverse yes inverse_frequency weighted on",
        "null": "none false no off"},
    "loss.pos_weight": {"balanced": "balance true auto yes on", "null": "none false no off"},
    "augmentations.normalization": {"model": "imagenet true timm default yes network standard zscore",
        "unit": "none 0-1 minmax false no off 255 scale"},
    "task.background": {"white": "light 255 bright", "black": "dark 0 zero"},
    "arch.pretrained": {"true": "imagenet yes default imagenet1k pretrained on", "false": "no none random"
    " scratch off null"},
    "arch.freeze": {"true": "all encoder body yes on features base backbone_only", "false": "none no off null"},
    "sys.num_workers": {"auto": "-1 all max none default"},
    "sys.threads": {"auto": "-1 all max none default"},
    "sys.fold_workers": {"auto": "-1 all max none"},
    "split.rare": {"allow": "ignore warn true ok yes", "refuse": "error raise false no"},
}  # fmt: skip

# For each full key, the value intended by a word.
VALUES: dict[str, dict[str, str]] = {
    key: {word: value for value, words in entries.items() for word in words.split()} for key, entries in _VALUES.items()
}

_KINDS = (
    (
        "class multiclass multi_class classify single_label binary binary_classification image_classification",
        "classification",
    ),
    ("multi_label multi_labels labels multi_label_classification tagging tags", "multilabel"),
    ("regress continuous number numbers numeric float", "regression"),
)
VALUES["task.kind"] = {word: kind for words, kind in _KINDS for word in words.split()}

# Examples for the values of keys that are hard to guess.
EXAMPLES: dict[str, str] = {
    "mode.prior": "give one number for each class, such as mode.prior=[0.9,0.1]",
    "mode.deploy_prior": "give one number for each class, such as mode.deploy_prior=[0.9,0.1]",
    "mode.alpha": "sets that hold the true class of 95 % of the images are those of mode.alpha=0.05",
    "mode.costs": "give a row for each true class, such as mode.costs=[[0,1],[5,0]]",
    "mode.threshold": "name how they are chosen, as mode.threshold=f1, or mode.threshold=sensitivity mode.at_least=0.95",
    "mode.multitask": "give the number of tasks, such as mode.multitask=2 task_list=[digits]",
    "loss.class_weights": "use balanced, or one number for each class, such as loss.class_weights=[1,5]",
    "optimizer.betas": "for example optimizer.betas=[0.9,0.999]",
    "lr_scheduler.milestones": "for example lr_scheduler.milestones=[10,15]",
    "task.value_range": "for example task.value_range=[0.0,255.0]",
    "stages.list": "for example 'stages.list=[{epochs:2,freeze:backbone},{epochs:8}]'",
}

# Words in place of a mode, with the intended command.
MODES: dict[str, str] = {
    word: command
    for command, words in {
        "mml train": "training learn run start trainer",
        "mml train stages=freeze_then_finetune": "finetune fine_tune fine-tune finetuning",
        "mml tl": "transfer transfer_learning",
        "mml test": "eval evaluation val validate validation testing",
        "mml predict": "infer inference prediction pred predictions forward detect classify",
        "mml post": "calibrate ensemble calibration ensembling postprocess stack blend",
        "mml pp": "preprocess preprocessing cache prepare",
        "mml create": "new make init add import dataset describe",
        "mml info": "list ls show status leaderboard results summary stats projects tasks runs compare plot plots log",
        "mml info mode.subroutines=[report]": "report html",
        "mml clean": "rm remove delete clear purge",
        "mml lr_find": "lrfind lr-find find_lr lr_finder lrfinder find-lr",
        "mml train hpo=optuna search_space=basic": "tune search hpo optimize optimise sweep optuna hyperopt tuner automl",
        "mml train preset=fast": "autotrain quickstart auto fast",
        "mml train continue=latest": "resume continue restart go_on go-on",
        "mml verify": "check replay verification",
        "mml upgrade": "migrate update migration",
        "mml convert recipe=FILE": "translate conversion",
        "mml distill": "distil distillation teach student teacher compress knowledge_distillation",
        "mml explain": "why heatmap heatmaps gradcam grad_cam cam saliency explanation interpret",
        "mml serve": "server api rest http fastapi flask webapp app web gradio endpoint inference_server",
        "mml export": "onnx deploy save_model to_onnx torchscript bundle quantize",
    }.items()
    for word in words.split()
}  # fmt: skip
